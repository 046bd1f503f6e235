package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand"
	"sync"
	"time"

	"github.com/Azure/go-amqp"
)

const (
	manyMessages = 10000
	largeSize    = 64 << 20
)

var transfers = []check{
	usual("order", order),
	usual("settle-presettled", func(s *scene) {
		bothWays(s, "settle-presettled", amqp.SenderSettleModeSettled)
	}),
	usual("settle-unsettled", func(s *scene) {
		bothWays(s, "settle-unsettled", amqp.SenderSettleModeUnsettled)
	}),
	usual("settle-mixed", mixed),
	usual("settle-second", second),
	{"large", map[string]arguments{"large": nil}, 60, large},
	usual("many-links", manyLinks),
	usual("many-goroutines", manyGoroutines),
	usual("heartbeats", heartbeats),
}

func order(s *scene) {
	session := s.session()
	sender := s.sender(session, queue("order"), nil)
	var messages []*amqp.Message
	for number := range manyMessages {
		messages = append(messages, amqp.NewMessage(fmt.Appendf(nil, "message %d", number)))
	}
	s.send(sender, messages...)
	// The client gives credit itself, as messages are settled.
	receiver := given(session.NewReceiver(s.ctx, queue("order"), &amqp.ReceiverOptions{Credit: 500}))
	for number := range manyMessages {
		message := s.next(receiver)
		equal(string(message.GetData()), fmt.Sprintf("message %d", number), "body")
		s.accept(receiver, message)
	}
	must(receiver.Close(s.ctx))
	equal(len(s.contents(session, queue("order"))), 0, "what is left")
}

// bothWays sends a thousand messages in this mode and gets them back in it.
func bothWays(s *scene, name string, mode amqp.SenderSettleMode) {
	session := s.session()
	sender := s.sender(session, queue(name), &amqp.SenderOptions{SettlementMode: &mode})
	for _, message := range numbered(0, 1000) {
		must(sender.Send(s.ctx, message, nil))
	}
	receiver := s.receiver(session, queue(name), amqp.ReceiverOptions{RequestedSenderSettleMode: &mode})
	must(receiver.IssueCredit(1000))
	for number := range 1000 {
		message := s.next(receiver)
		equal(message.Value, int64(number), "body")
		if mode != amqp.SenderSettleModeSettled {
			s.accept(receiver, message)
		}
	}
	must(sender.Close(s.ctx))
	must(receiver.Close(s.ctx))
	equal(len(s.contents(session, queue(name))), 0, "what is left")
}

func mixed(s *scene) {
	session := s.session()
	mode := amqp.SenderSettleModeMixed
	sender := s.sender(session, queue("settle-mixed"), &amqp.SenderOptions{SettlementMode: &mode})
	for number, message := range numbered(0, 400) {
		must(sender.Send(s.ctx, message, &amqp.SendOptions{Settled: number%2 == 0}))
	}
	receiver := s.credited(session, queue("settle-mixed"), 400)
	for number, message := range s.take(receiver, 400) {
		equal(message.Value, int64(number), "body")
		s.accept(receiver, message)
	}
}

// The receiver settles when the broker has: accepting waits for that.
func second(s *scene) {
	session := s.session()
	s.fill(session, queue("settle-second"), 100)
	mode := amqp.ReceiverSettleModeSecond
	receiver := s.receiver(session, queue("settle-second"), amqp.ReceiverOptions{SettlementMode: &mode})
	must(receiver.IssueCredit(100))
	messages := s.take(receiver, 100)
	equal(bodies(messages), numbers(0, 100), "bodies")
	s.accept(receiver, messages...)
	must(receiver.Close(s.ctx))
	equal(len(s.contents(session, queue("settle-second"))), 0, "what is left")
}

func large(s *scene) {
	content := make([]byte, largeSize)
	rand.New(rand.NewSource(1)).Read(content)
	conn := s.conn(amqp.ConnOptions{MaxFrameSize: 16 << 10})
	session := given(conn.NewSession(s.ctx, nil))
	s.send(s.sender(session, queue("large"), nil), amqp.NewMessage(content))
	receiver := s.credited(session, queue("large"), 1)
	message := s.next(receiver)
	found := message.GetData()
	equal(len(found), largeSize, "length")
	equal(sha256.Sum256(found), sha256.Sum256(content), "checksum")
	s.accept(receiver, message)
}

// Ten senders on each of ten sessions, mixed.
func manyLinks(s *scene) {
	conn := s.conn(amqp.ConnOptions{})
	var senders []*amqp.Sender
	for range 10 {
		session := given(conn.NewSession(s.ctx, nil))
		for range 10 {
			senders = append(senders, s.sender(session, queue("many-links"), nil))
		}
	}
	for number := range 10 {
		for _, sender := range senders {
			s.send(sender, value(int64(number)))
		}
	}
	session := given(conn.NewSession(s.ctx, nil))
	for range 10 {
		receiver := s.credited(session, queue("many-links"), 100)
		s.accept(receiver, s.take(receiver, 100)...)
	}
	equal(len(s.contents(session, queue("many-links"))), 0, "what is left")
}

// Many goroutines on one link: nothing is lost, and each one's messages are in order.
func manyGoroutines(s *scene) {
	session := s.session()
	sender := s.sender(session, queue("many-goroutines"), nil)
	errs := make(chan error, 20)
	var running sync.WaitGroup
	for worker := range 20 {
		running.Go(func() {
			for number := range 50 {
				message := value([]any{int64(worker), int64(number)})
				if err := sender.Send(s.ctx, message, nil); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	running.Wait()
	close(errs)
	must(<-errs)
	next := map[int64]int64{}
	for _, message := range s.contents(session, queue("many-goroutines")) {
		body := message.Value.([]any)
		worker := body[0].(int64)
		equal(body[1], next[worker], "number")
		next[worker]++
	}
	for worker := range int64(20) {
		equal(next[worker], int64(50), "messages")
	}
}

// A connection that is idle lives on empty frames, both ways.
func heartbeats(s *scene) {
	conn := s.conn(amqp.ConnOptions{IdleTimeout: 400 * time.Millisecond})
	session := given(conn.NewSession(s.ctx, nil))
	time.Sleep(1500 * time.Millisecond)
	s.send(s.sender(session, queue("heartbeats"), nil), amqp.NewMessage([]byte("alive")))
	found := s.contents(session, queue("heartbeats"))
	equal(len(found) == 1 && bytes.Equal(found[0].GetData(), []byte("alive")), true, "alive")
}

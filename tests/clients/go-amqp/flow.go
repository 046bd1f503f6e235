package main

import (
	"context"
	"time"

	"github.com/Azure/go-amqp"
)

var flows = []check{
	usual("credit", credit),
	usual("credit-before-messages", creditBeforeMessages),
	usual("drain", drain),
	{"flow-stop", map[string]arguments{
		"flow-stop": {"qpid.flow_stop_count": 10, "qpid.flow_resume_count": 5},
	}, 30, flowStop},
	// Without flow control, which would hold back outcomes before the queue is full.
	{"full-queue", map[string]arguments{"full-queue": {
		"qpid.max_count":       10,
		"qpid.policy_type":     "reject",
		"qpid.flow_stop_count": 0,
	}}, 30, fullQueue},
}

func credit(s *scene) {
	session := s.session()
	s.fill(session, queue("credit"), 100)
	receiver := s.receiver(session, queue("credit"), amqp.ReceiverOptions{})
	s.nothing(receiver)
	got := 0
	for _, more := range []int{1, 1, 2, 10, 30} {
		must(receiver.IssueCredit(uint32(more)))
		messages := s.take(receiver, more)
		equal(bodies(messages), numbers(got, got+more), "bodies")
		s.accept(receiver, messages...)
		got += more
		s.nothing(receiver)
	}
}

// Credit that is there first is used as messages come, and not beyond its end.
func creditBeforeMessages(s *scene) {
	session := s.session()
	receiver := s.credited(session, queue("credit-before-messages"), 5)
	s.nothing(receiver)
	s.fill(session, queue("credit-before-messages"), 10)
	equal(bodies(s.take(receiver, 5)), numbers(0, 5), "bodies")
	s.nothing(receiver)
	must(receiver.IssueCredit(5))
	equal(bodies(s.take(receiver, 5)), numbers(5, 10), "bodies")
}

// The client asks for a drain with no credit left, as one may who takes it back: the broker has to
// answer all the same, which the reference does not.
func drain(s *scene) {
	session := s.session()
	receiver := s.credited(session, queue("drain"), 10)
	drained := func() {
		// It also forgets credit that it has not sent yet.
		time.Sleep(50 * time.Millisecond)
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		defer cancel()
		must(receiver.DrainCredit(ctx, nil))
	}
	drained()
	s.fill(session, queue("drain"), 5)
	s.nothing(receiver)
	must(receiver.IssueCredit(10))
	drained()
	// They have come when the drain has ended.
	for number := range 5 {
		message := receiver.Prefetched()
		if message == nil {
			fail("message %d came after the end of the drain", number)
		}
		equal(message.Value, int64(number), "body")
		s.accept(receiver, message)
	}
	s.fill(session, queue("drain"), 5)
	s.nothing(receiver)
}

// A queue above its mark keeps the outcomes of its senders until it is emptier.
func flowStop(s *scene) {
	sender := s.sender(s.session(), queue("flow-stop"), nil)
	done := make(chan error, 20)
	for _, message := range numbered(0, 20) {
		receipt := given(sender.SendWithReceipt(s.ctx, message, nil))
		go func() {
			_, err := receipt.Wait(s.ctx)
			done <- err
		}()
	}
	time.Sleep(300 * time.Millisecond)
	if len(done) == 20 {
		fail("all outcomes came, though the queue is above its mark")
	}
	receiver := s.credited(s.session(), queue("flow-stop"), 20)
	s.accept(receiver, s.take(receiver, 20)...)
	for range 20 {
		must(<-done)
	}
}

// What a full queue has no room for is refused, and the link lives on.
func fullQueue(s *scene) {
	session := s.session()
	sender := s.sender(session, queue("full-queue"), nil)
	s.send(sender, numbered(0, 10)...)
	state := s.post(sender, value(int64(10)))[0]
	switch state.(type) {
	case *amqp.StateReleased, *amqp.StateRejected:
	default:
		fail("not refused but %#v", state)
	}
	receiver := s.credited(session, queue("full-queue"), 1)
	s.accept(receiver, s.next(receiver))
	must(receiver.Close(s.ctx))
	s.send(sender, value(int64(11)))
}

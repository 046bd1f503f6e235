package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/Azure/go-amqp"
)

// How long nothing must come before a check believes that nothing will.
const silence = 250 * time.Millisecond

// How long one step of a check may take.
const patience = 10 * time.Second

// scene has the connections of a check.
type scene struct {
	ctx     context.Context
	address string
	conns   []*amqp.Conn
}

func queue(name string) string { return "go-amqp-" + name }

// fail ends the check; the line is that of the check itself.
func fail(format string, values ...any) {
	where := ""
	for depth := 1; depth < 12; depth++ {
		_, file, line, ok := runtime.Caller(depth)
		base := filepath.Base(file)
		if ok && strings.Contains(file, "go-amqp") && base != "scene.go" && base != "main.go" {
			where = fmt.Sprintf("%s:%d: ", base, line)
			break
		}
	}
	text := where + fmt.Sprintf(format, values...)
	panic(failure{errors.New(text[:min(len(text), 300)])})
}

// must ends the check when there is an error.
func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// given is the value, unless there is an error.
func given[T any](value T, err error) T {
	must(err)
	return value
}

func equal(found, wanted any, what string) {
	if !reflect.DeepEqual(found, wanted) {
		fail("%s: %#v is not %#v", what, found, wanted)
	}
}

func (s *scene) conn(more amqp.ConnOptions) *amqp.Conn {
	more.SASLType = amqp.SASLTypeAnonymous()
	conn := given(amqp.Dial(s.ctx, "amqp://"+s.address, &more))
	s.conns = append(s.conns, conn)
	return conn
}

// session is one on a connection of its own.
func (s *scene) session() *amqp.Session {
	return given(s.conn(amqp.ConnOptions{}).NewSession(s.ctx, nil))
}

func (s *scene) close() {
	for _, conn := range s.conns {
		closed := make(chan struct{})
		go func() { conn.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(2 * time.Second):
		}
	}
}

func (s *scene) sender(on *amqp.Session, address string, opts *amqp.SenderOptions) *amqp.Sender {
	return given(on.NewSender(s.ctx, address, opts))
}

// receiver is one without credit.
func (s *scene) receiver(on *amqp.Session, address string, opts amqp.ReceiverOptions) *amqp.Receiver {
	opts.Credit = -1
	return given(on.NewReceiver(s.ctx, address, &opts))
}

// credited is a receiver with that much credit.
func (s *scene) credited(on *amqp.Session, address string, credit uint32) *amqp.Receiver {
	receiver := s.receiver(on, address, amqp.ReceiverOptions{})
	must(receiver.IssueCredit(credit))
	return receiver
}

func (s *scene) next(from *amqp.Receiver) *amqp.Message {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	return given(from.Receive(ctx, nil))
}

// takes receives messages and settles none.
func (s *scene) take(from *amqp.Receiver, count int) []*amqp.Message {
	var taken []*amqp.Message
	for range count {
		taken = append(taken, s.next(from))
	}
	return taken
}

func (s *scene) accept(from *amqp.Receiver, messages ...*amqp.Message) {
	for _, message := range messages {
		must(from.AcceptMessage(s.ctx, message))
	}
}

// nothing comes for a while.
func (s *scene) nothing(from *amqp.Receiver) {
	ctx, cancel := context.WithTimeout(s.ctx, silence)
	defer cancel()
	if message, err := from.Receive(ctx, nil); err == nil {
		fail("%v came and should not have", message.Value)
	} else if !errors.Is(err, context.DeadlineExceeded) {
		must(err)
	}
}

func value(body any) *amqp.Message { return &amqp.Message{Value: body} }

// post sends messages as credit allows, and returns the outcome of each.
func (s *scene) post(to *amqp.Sender, messages ...*amqp.Message) []amqp.DeliveryState {
	var receipts []amqp.SendReceipt
	for _, message := range messages {
		receipts = append(receipts, given(to.SendWithReceipt(s.ctx, message, nil)))
	}
	var states []amqp.DeliveryState
	for _, receipt := range receipts {
		states = append(states, given(receipt.Wait(s.ctx)))
	}
	return states
}

// send sends messages, all of which must be accepted.
func (s *scene) send(to *amqp.Sender, messages ...*amqp.Message) {
	for _, state := range s.post(to, messages...) {
		if _, ok := state.(*amqp.StateAccepted); !ok {
			fail("not accepted but %#v", state)
		}
	}
}

// fill sends that many numbers over a link of its own.
func (s *scene) fill(on *amqp.Session, address string, count int) {
	sender := s.sender(on, address, nil)
	s.send(sender, numbered(0, count)...)
	must(sender.Close(s.ctx))
}

func numbered(from, to int) []*amqp.Message {
	var messages []*amqp.Message
	for number := from; number < to; number++ {
		messages = append(messages, value(int64(number)))
	}
	return messages
}

func numbers(from, to int) []any {
	bodies := []any{}
	for number := from; number < to; number++ {
		bodies = append(bodies, int64(number))
	}
	return bodies
}

func bodies(messages []*amqp.Message) []any {
	bodies := []any{}
	for _, message := range messages {
		bodies = append(bodies, message.Value)
	}
	return bodies
}

// contents is all that a queue has, taken from it: what comes before nothing more does.
func (s *scene) contents(on *amqp.Session, address string) []*amqp.Message {
	receiver := s.credited(on, address, 100000)
	var found []*amqp.Message
	for {
		ctx, cancel := context.WithTimeout(s.ctx, silence)
		message, err := receiver.Receive(ctx, nil)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		must(err)
		s.accept(receiver, message)
		found = append(found, message)
	}
	must(receiver.Close(s.ctx))
	return found
}

// count is how often a message was delivered before.
func count(message *amqp.Message) uint32 {
	if message.Header == nil {
		return 0
	}
	return message.Header.DeliveryCount
}

// condition is that of the error with which a link was refused.
func condition(err error) amqp.ErrCond {
	var link *amqp.LinkError
	var plain *amqp.Error
	switch {
	case errors.As(err, &link) && link.RemoteErr != nil:
		return link.RemoteErr.Condition
	case errors.As(err, &plain):
		return plain.Condition
	}
	fail("no error of the broker but %v", err)
	return ""
}

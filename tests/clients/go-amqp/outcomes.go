package main

import (
	"github.com/Azure/go-amqp"
)

var alternate = map[string]arguments{
	"outcome-rejected-alternate": {"alternate-exchange": "amq.fanout"},
}

var outcomes = []check{
	usual("outcome-accepted", accepted),
	usual("outcome-rejected", rejected),
	{"outcome-rejected-alternate", alternate, 30, rejectedToAlternate},
	usual("outcome-released", released),
	usual("outcome-released-order", releasedOrder),
	usual("outcome-modified", modified),
	usual("outcome-undeliverable-here", undeliverableHere),
	usual("outcome-none", noOutcome),
	usual("competing", competing),
}

// one is a receiver that was given the only message of its queue.
func one(s *scene, name string) (*amqp.Session, *amqp.Receiver, *amqp.Message) {
	session := s.session()
	s.send(s.sender(session, queue(name), nil), value("first"))
	receiver := s.credited(session, queue(name), 1)
	message := s.next(receiver)
	equal(count(message), uint32(0), "delivery-count")
	return session, receiver, message
}

func gone(s *scene, session *amqp.Session, receiver *amqp.Receiver, name string) {
	must(receiver.Close(s.ctx))
	equal(len(s.contents(session, queue(name))), 0, "what is left")
}

func accepted(s *scene) {
	session, receiver, message := one(s, "outcome-accepted")
	equal(message.Header != nil && message.Header.FirstAcquirer, true, "first-acquirer")
	s.accept(receiver, message)
	gone(s, session, receiver, "outcome-accepted")
}

func rejected(s *scene) {
	session, receiver, message := one(s, "outcome-rejected")
	why := &amqp.Error{Condition: amqp.ErrCondDecodeError, Description: "cannot be read"}
	must(receiver.RejectMessage(s.ctx, message, why))
	gone(s, session, receiver, "outcome-rejected")
}

func rejectedToAlternate(s *scene) {
	dead := s.credited(s.session(), "amq.fanout", 10)
	_, receiver, message := one(s, "outcome-rejected-alternate")
	must(receiver.RejectMessage(s.ctx, message, nil))
	equal(s.next(dead).Value, "first", "body")
}

func released(s *scene) {
	session, receiver, message := one(s, "outcome-released")
	must(receiver.ReleaseMessage(s.ctx, message))
	must(receiver.IssueCredit(1))
	again := s.next(receiver)
	equal(again.Value, "first", "body")
	equal(count(again), uint32(0), "delivery-count of a released message")
	s.accept(receiver, again)
	gone(s, session, receiver, "outcome-released")
}

// Released messages come back in their places.
func releasedOrder(s *scene) {
	session := s.session()
	s.fill(session, queue("outcome-released-order"), 20)
	receiver := s.credited(session, queue("outcome-released-order"), 10)
	for _, message := range s.take(receiver, 10) {
		must(receiver.ReleaseMessage(s.ctx, message))
	}
	must(receiver.Close(s.ctx))
	found := s.contents(session, queue("outcome-released-order"))
	equal(bodies(found), numbers(0, 20), "order")
}

func modified(s *scene) {
	_, receiver, message := one(s, "outcome-modified")
	for turn := range 3 {
		tries := int64(turn + 1)
		must(receiver.ModifyMessage(s.ctx, message, &amqp.ModifyMessageOptions{
			DeliveryFailed: true,
			Annotations:    amqp.Annotations{"x-try": tries},
		}))
		must(receiver.IssueCredit(1))
		message = s.next(receiver)
		equal(message.Value, "first", "body")
		equal(count(message), uint32(tries), "delivery-count")
		equal(message.Annotations["x-try"], tries, "annotation")
	}
	s.accept(receiver, message)
}

// Not to this link again; to another it may go.
func undeliverableHere(s *scene) {
	session, receiver, message := one(s, "outcome-undeliverable-here")
	options := &amqp.ModifyMessageOptions{DeliveryFailed: true, UndeliverableHere: true}
	must(receiver.ModifyMessage(s.ctx, message, options))
	must(receiver.IssueCredit(1))
	s.nothing(receiver)
	other := s.credited(session, queue("outcome-undeliverable-here"), 1)
	again := s.next(other)
	equal(again.Value, "first", "body")
	equal(count(again), uint32(1), "delivery-count")
	s.accept(other, again)
}

// Messages of a link that is closed without an outcome are another's.
func noOutcome(s *scene) {
	session := s.session()
	s.fill(session, queue("outcome-none"), 10)
	receiver := s.credited(session, queue("outcome-none"), 10)
	s.take(receiver, 10)
	must(receiver.Close(s.ctx))
	again := s.contents(session, queue("outcome-none"))
	equal(bodies(again), numbers(0, 10), "order")
	for _, message := range again {
		equal(count(message), uint32(1), "delivery-count")
	}
}

// Two receivers share the messages of a queue; neither gets what the other has.
func competing(s *scene) {
	receivers := []*amqp.Receiver{
		s.receiver(s.session(), queue("competing"), amqp.ReceiverOptions{}),
		s.receiver(s.session(), queue("competing"), amqp.ReceiverOptions{}),
	}
	s.fill(s.session(), queue("competing"), 1000)
	seen := map[any]int{}
	for range 20 {
		for _, receiver := range receivers {
			must(receiver.IssueCredit(25))
			for _, message := range s.take(receiver, 25) {
				seen[message.Value]++
				s.accept(receiver, message)
			}
		}
	}
	equal(len(seen), 1000, "messages")
}

package main

import (
	"fmt"
	"time"

	"github.com/Azure/go-amqp"
)

var nodes = []check{
	{"missing-node", nil, 30, missingNode},
	usual("selector", selector),
	usual("selector-bad", selectorBad),
	usual("browse", browse),
	usual("request-reply", requestReply),
	usual("anonymous-sender", anonymousSender),
	{"topic", nil, 30, topic},
	{"direct", nil, 30, direct},
	{"fanout", nil, 30, fanout},
	{"durable-subscription", nil, 30, durableSubscription},
}

func topicKey(key string) amqp.LinkFilter {
	return amqp.NewLinkFilter("apache.org:legacy-amqp-topic-binding:string", 0x468C00000001, key)
}

func directKey(key string) amqp.LinkFilter {
	return amqp.NewLinkFilter("apache.org:legacy-amqp-direct-binding:string", 0x468C00000000, key)
}

func missingNode(s *scene) {
	session := s.session()
	_, err := session.NewSender(s.ctx, "not-there", nil)
	equal(condition(err), amqp.ErrCondNotFound, "condition")
	_, err = session.NewReceiver(s.ctx, "not-there", nil)
	equal(condition(err), amqp.ErrCondNotFound, "condition")
	// The session lives on.
	s.sender(session, "amq.fanout", nil)
}

func selector(s *scene) {
	session := s.session()
	sender := s.sender(session, queue("selector"), nil)
	for number := range int64(20) {
		colour := []string{"blue", "red"}[number%2]
		properties := map[string]any{"number": number, "colour": colour}
		s.send(sender, &amqp.Message{ApplicationProperties: properties, Value: number})
	}
	filter := amqp.NewSelectorFilter("colour = 'red' AND number BETWEEN 5 AND 11")
	options := amqp.ReceiverOptions{Filters: []amqp.LinkFilter{filter}}
	receiver := s.receiver(session, queue("selector"), options)
	must(receiver.IssueCredit(20))
	messages := s.take(receiver, 4)
	equal(bodies(messages), []any{int64(5), int64(7), int64(9), int64(11)}, "bodies")
	s.accept(receiver, messages...)
	s.nothing(receiver)
	if receiver.LinkSourceFilterValue("apache.org:selector-filter:string") == nil {
		fail("the broker did not say that it took the filter")
	}
	must(receiver.Close(s.ctx))
	equal(len(s.contents(session, queue("selector"))), 16, "what is left")
}

func selectorBad(s *scene) {
	filter := amqp.NewSelectorFilter("colour = = 'red'")
	options := &amqp.ReceiverOptions{Filters: []amqp.LinkFilter{filter}}
	_, err := s.session().NewReceiver(s.ctx, queue("selector-bad"), options)
	if got := condition(err); got != amqp.ErrCondInvalidField && got != amqp.ErrCondInternalError {
		fail("condition %s", got)
	}
}

func browse(s *scene) {
	session := s.session()
	s.fill(session, queue("browse"), 10)
	for range 2 {
		browser := s.receiver(session, queue("browse"), amqp.ReceiverOptions{
			SourceDistributionMode: "copy",
		})
		must(browser.IssueCredit(20))
		equal(bodies(s.take(browser, 10)), numbers(0, 10), "bodies")
		s.nothing(browser)
		must(browser.Close(s.ctx))
	}
	equal(bodies(s.contents(session, queue("browse"))), numbers(0, 10), "what is left")
}

func requestReply(s *scene) {
	asking, answering := s.session(), s.session()
	replies := s.receiver(asking, "", amqp.ReceiverOptions{DynamicAddress: true})
	must(replies.IssueCredit(10))
	address := replies.Address()
	equal(address != "", true, "a dynamic node has an address")
	server := s.credited(answering, queue("request-reply"), 10)
	reply := s.sender(answering, "", nil)
	ask := s.sender(asking, queue("request-reply"), nil)
	for number := range int64(10) {
		id := fmt.Sprintf("id %d", number)
		properties := &amqp.MessageProperties{ReplyTo: &address, CorrelationID: id}
		s.send(ask, &amqp.Message{Properties: properties, Value: number})
		question := s.next(server)
		s.accept(server, question)
		properties = &amqp.MessageProperties{
			To:            question.Properties.ReplyTo,
			CorrelationID: question.Properties.CorrelationID,
		}
		s.send(reply, &amqp.Message{Properties: properties, Value: question.Value.(int64) * 2})
		came := s.next(replies)
		equal(came.Value, number*2, "body")
		equal(came.Properties.CorrelationID, id, "correlation-id")
		s.accept(replies, came)
	}
	// The node is gone with its link.
	must(replies.Close(s.ctx))
	time.Sleep(100 * time.Millisecond)
	_, err := answering.NewSender(s.ctx, address, nil)
	equal(condition(err), amqp.ErrCondNotFound, "condition")
}

func anonymousSender(s *scene) {
	session := s.session()
	sender := s.sender(session, "", nil)
	to := func(address string, body any) *amqp.Message {
		return &amqp.Message{Properties: &amqp.MessageProperties{To: &address}, Value: body}
	}
	for number := range int64(10) {
		s.send(sender, to(queue("anonymous-sender"), number))
	}
	// Nowhere to go, which the reference tells nobody: the link lives on.
	s.post(sender, to("not-there", "x"))
	s.send(sender, to(queue("anonymous-sender"), int64(10)))
	found := s.contents(session, queue("anonymous-sender"))
	equal(bodies(found), numbers(0, 11), "bodies")
}

// routed gives an exchange messages with these subjects; each receiver gets its own of them.
func routed(s *scene, exchange string, filters []amqp.LinkFilter, wanted [][]any, subjects ...string) {
	session := s.session()
	var receivers []*amqp.Receiver
	for _, filter := range filters {
		options := amqp.ReceiverOptions{}
		if filter != nil {
			options.Filters = []amqp.LinkFilter{filter}
		}
		receiver := s.receiver(session, exchange, options)
		must(receiver.IssueCredit(20))
		receivers = append(receivers, receiver)
	}
	sender := s.sender(session, exchange, nil)
	for _, subject := range subjects {
		properties := &amqp.MessageProperties{Subject: &subject}
		s.send(sender, &amqp.Message{Properties: properties, Value: subject})
	}
	for at, receiver := range receivers {
		found := bodies(s.take(receiver, len(wanted[at])))
		equal(found, wanted[at], fmt.Sprintf("receiver %d", at))
		s.nothing(receiver)
	}
}

func topic(s *scene) {
	filters := []amqp.LinkFilter{
		topicKey("news.*"), topicKey("news.#"), topicKey("*.sport"), topicKey("#"), topicKey("weather"),
	}
	wanted := [][]any{
		{"news.sport"},
		{"news.sport", "news.a.b", "news"},
		{"news.sport", "x.sport"},
		{"news.sport", "news.a.b", "weather", "news", "x.sport"},
		{"weather"},
	}
	routed(s, "amq.topic", filters, wanted, "news.sport", "news.a.b", "weather", "news", "x.sport")
}

func direct(s *scene) {
	filters := []amqp.LinkFilter{directKey("red"), directKey("blue")}
	wanted := [][]any{{"red", "red"}, {"blue"}}
	routed(s, "amq.direct", filters, wanted, "red", "blue", "green", "red")
}

func fanout(s *scene) {
	each := []any{"a", "b"}
	routed(s, "amq.fanout", make([]amqp.LinkFilter, 3), [][]any{each, each, each}, "a", "b")
}

// A subscription that never expires goes on collecting while its connection is away.
func durableSubscription(s *scene) {
	subscribe := func() (*amqp.Conn, *amqp.Receiver) {
		conn := s.conn(amqp.ConnOptions{ContainerID: "go-amqp-durable"})
		session := given(conn.NewSession(s.ctx, nil))
		return conn, s.receiver(session, "amq.topic", amqp.ReceiverOptions{
			Name:               "go-amqp-durable",
			SourceDurability:   amqp.DurabilityUnsettledState,
			SourceExpiryPolicy: amqp.ExpiryPolicyNever,
			Filters:            []amqp.LinkFilter{topicKey("durable.#")},
		})
	}
	conn, _ := subscribe()
	must(conn.Close())
	sender := s.sender(s.session(), "amq.topic", nil)
	for _, subject := range []string{"durable.one", "other", "durable.two"} {
		properties := &amqp.MessageProperties{Subject: &subject}
		s.send(sender, &amqp.Message{Properties: properties, Value: subject})
	}
	_, again := subscribe()
	must(again.IssueCredit(10))
	equal(bodies(s.take(again, 2)), []any{"durable.one", "durable.two"}, "bodies")
	s.nothing(again)
	must(again.Close(s.ctx))
}

package main

import (
	"bytes"
	"math"
	"strings"
	"time"

	"github.com/Azure/go-amqp"
)

var values = []check{
	usual("body-scalars", bodyScalars),
	usual("body-compound", bodyCompound),
	usual("body-sections", bodySections),
	usual("application-properties", applicationProperties),
	usual("message-ids", messageIDs),
	usual("properties", properties),
	usual("header", header),
	usual("annotations", annotations),
	usual("time-to-live", timeToLive),
}

var uuid = amqp.UUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// The client has no char and no decimals.
var scalars = map[string]any{
	"true":             true,
	"false":            false,
	"ubyte":            uint8(200),
	"ushort":           uint16(60000),
	"uint":             uint32(4000000000),
	"small uint":       uint32(7),
	"zero uint":        uint32(0),
	"ulong":            uint64(math.MaxUint64),
	"small ulong":      uint64(7),
	"zero ulong":       uint64(0),
	"byte":             int8(-100),
	"short":            int16(-30000),
	"int":              int32(-2000000000),
	"small int":        int32(-7),
	"long":             int64(math.MinInt64),
	"small long":       int64(-7),
	"float":            float32(0.25),
	"double":           0.1,
	"infinity":         math.Inf(1),
	"timestamp":        time.UnixMilli(1700000000123).UTC(),
	"before 1970":      time.UnixMilli(-123).UTC(),
	"uuid":             uuid,
	"binary":           bytes.Repeat([]byte{0, 1, 128, 255}, 100),
	"empty binary":     []byte{},
	"string":           "text: \u00e4\u20ac\U0001f600",
	"long string":      strings.Repeat("long ", 1000),
	"empty string":     "",
	"symbol":           amqp.Symbol("a-symbol"),
	"symbol, long":     amqp.Symbol(strings.Repeat("x", 300)),
	"string of 255":    strings.Repeat("x", 255),
	"string of 256":    strings.Repeat("x", 256),
	"binary of 65,536": bytes.Repeat([]byte{7}, 65536),
}

func compounds() map[string]any {
	var long []any
	for number := range int64(1000) {
		long = append(long, number)
	}
	big := map[string]any{}
	for number := range 300 {
		big[strings.Repeat("k", number+1)] = strings.Repeat("value ", number)
	}
	return map[string]any{
		"list":        []any{"a", int64(1), nil, true, []any{int64(2), []any{"deep"}}},
		"long list":   long,
		"map":         map[string]any{"a": int64(1), "in": map[string]any{"deeper": []byte("binary")}},
		"map, mixed":  map[any]any{"a": int64(1), int64(7): "number", uuid: nil},
		"large map":   big,
		"array":       []int64{1, 2, 300},
		"strings":     []string{"one", "two"},
		"small array": []int32{1, 2, 3},
	}
}

// back sends each message and returns what comes of it.
func back(s *scene, name string, messages ...*amqp.Message) []*amqp.Message {
	session := s.session()
	sender := s.sender(session, queue(name), nil)
	receiver := s.receiver(session, queue(name), amqp.ReceiverOptions{})
	var came []*amqp.Message
	for _, message := range messages {
		s.send(sender, message)
		must(receiver.IssueCredit(1))
		again := s.next(receiver)
		s.accept(receiver, again)
		came = append(came, again)
	}
	return came
}

// plain is what the client makes of values: times in its zone, and symbols are strings.
func plain(value any) any {
	switch value := value.(type) {
	case time.Time:
		return value.UTC()
	case amqp.Symbol:
		return string(value)
	case []byte:
		if len(value) == 0 {
			return []byte{}
		}
	}
	return value
}

func bodyTypes(s *scene, name string, all map[string]any) {
	var names []string
	var messages []*amqp.Message
	for what, body := range all {
		names = append(names, what)
		messages = append(messages, value(body))
	}
	for at, message := range back(s, name, messages...) {
		equal(plain(message.Value), plain(all[names[at]]), names[at])
	}
}

func bodyScalars(s *scene) { bodyTypes(s, "body-scalars", scalars) }

func bodyCompound(s *scene) { bodyTypes(s, "body-compound", compounds()) }

// Data and sequence sections, also several of them.
func bodySections(s *scene) {
	sent := []*amqp.Message{
		amqp.NewMessage([]byte("data")),
		{Data: [][]byte{[]byte("one"), []byte("two"), bytes.Repeat([]byte("x"), 100000)}},
		{Sequence: [][]any{{int64(1), "two"}, {[]any{int64(3)}}}},
	}
	for at, came := range back(s, "body-sections", sent...) {
		equal(came.Data, sent[at].Data, "data")
		equal(came.Sequence, sent[at].Sequence, "sequence")
		equal(came.Value, nil, "value")
	}
}

func applicationProperties(s *scene) {
	sent := &amqp.Message{ApplicationProperties: scalars, Value: "body"}
	came := back(s, "application-properties", sent)[0].ApplicationProperties
	equal(len(came), len(scalars), "properties")
	for name, wanted := range scalars {
		equal(plain(came[name]), plain(wanted), name)
	}
}

func messageIDs(s *scene) {
	ids := []any{"text", uint64(math.MaxUint64), uint64(0), uuid, []byte{0, 255, 7}}
	var sent []*amqp.Message
	for _, id := range ids {
		properties := &amqp.MessageProperties{MessageID: id, CorrelationID: id}
		sent = append(sent, &amqp.Message{Properties: properties, Value: "body"})
	}
	for at, came := range back(s, "message-ids", sent...) {
		equal(came.Properties.MessageID, ids[at], "message-id")
		equal(came.Properties.CorrelationID, ids[at], "correlation-id")
	}
}

func pointer[T any](value T) *T { return &value }

func properties(s *scene) {
	now := time.Now().Truncate(time.Second).UTC()
	wanted := amqp.MessageProperties{
		MessageID:          "id",
		UserID:             []byte("anonymous"),
		To:                 pointer(queue("properties")),
		Subject:            pointer("subject"),
		ReplyTo:            pointer("somewhere"),
		CorrelationID:      "correlation",
		ContentType:        pointer("text/plain"),
		ContentEncoding:    pointer("utf-8"),
		AbsoluteExpiryTime: pointer(now.Add(time.Hour)),
		CreationTime:       pointer(now),
		GroupID:            pointer("group"),
		GroupSequence:      pointer(uint32(17)),
		ReplyToGroupID:     pointer("reply group"),
	}
	came := back(s, "properties", &amqp.Message{Properties: &wanted, Value: "body"})[0].Properties
	came.AbsoluteExpiryTime = pointer(came.AbsoluteExpiryTime.UTC())
	came.CreationTime = pointer(came.CreationTime.UTC())
	equal(*came, wanted, "properties")
}

func header(s *scene) {
	sent := &amqp.Message{
		Header: &amqp.MessageHeader{Durable: true, Priority: 7, TTL: time.Minute},
		Value:  "body",
	}
	came := back(s, "header", sent, value("plain"))
	head := came[0].Header
	equal([]any{head.Durable, head.Priority}, []any{true, uint8(7)}, "durable, priority")
	equal(head.TTL > 59*time.Second && head.TTL <= time.Minute, true, "ttl")
	if bare := came[1].Header; bare != nil {
		equal([]any{bare.Durable, bare.Priority}, []any{false, uint8(4)}, "durable, priority")
	}
}

func annotations(s *scene) {
	sent := &amqp.Message{
		Annotations: amqp.Annotations{"x-opt-text": "text", "x-opt-list": []any{int64(1), true}},
		Footer:      amqp.Annotations{"x-sum": int64(7)},
		Value:       "body",
	}
	came := back(s, "annotations", sent)[0]
	equal(came.Annotations, sent.Annotations, "annotations")
	equal(came.Footer, sent.Footer, "footer")
}

// What has expired is not delivered.
func timeToLive(s *scene) {
	session := s.session()
	sender := s.sender(session, queue("time-to-live"), nil)
	for ttl, body := range map[time.Duration]string{time.Minute: "long", 100 * time.Millisecond: "short"} {
		s.send(sender, &amqp.Message{Header: &amqp.MessageHeader{TTL: ttl}, Value: body})
	}
	time.Sleep(300 * time.Millisecond)
	receiver := s.credited(session, queue("time-to-live"), 10)
	equal(s.next(receiver).Value, "long", "body")
	s.nothing(receiver)
}

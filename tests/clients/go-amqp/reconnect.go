package main

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/Azure/go-amqp"
)

const (
	resent = 3000
	step   = resent / 6
)

var reconnects = []check{
	{"reconnect-sender", map[string]arguments{"reconnect-sender": nil}, 60, reconnectSender},
	{"reconnect-receiver", map[string]arguments{"reconnect-receiver": nil}, 60, reconnectReceiver},
}

// proxy forwards connections until they are cut.
type proxy struct {
	listener net.Listener
	lock     sync.Mutex
	conns    []net.Conn
}

func newProxy(target string) *proxy {
	p := &proxy{listener: given(net.Listen("tcp", "127.0.0.1:0"))}
	go func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				return
			}
			p.lock.Lock()
			p.conns = append(p.conns, client, broker)
			p.lock.Unlock()
			forward := func(to, from net.Conn) {
				io.Copy(to, from)
				to.Close()
				from.Close()
			}
			go forward(client, broker)
			go forward(broker, client)
		}
	}()
	return p
}

func (p *proxy) cut() {
	p.lock.Lock()
	defer p.lock.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

func (p *proxy) close() {
	p.listener.Close()
	p.cut()
}

// throughProxy connects, and again each time the connection is lost, until work has no error. What
// work counts decides when the connection is cut.
func throughProxy(s *scene, work func(ctx context.Context, on *amqp.Session, counted func()) error) {
	p := newProxy(s.address)
	defer p.close()
	done, cuts, opened, next := 0, 0, 0, step
	counted := func() {
		done++
		// Not before there is a connection again: what is on its way counts also after a cut.
		if done >= next && opened == cuts+1 {
			cuts++
			next = done + step
			p.cut()
		}
	}
	for {
		options := &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()}
		conn := given(amqp.Dial(s.ctx, "amqp://"+p.listener.Addr().String(), options))
		opened++
		err := work(s.ctx, given(conn.NewSession(s.ctx, nil)), counted)
		conn.Close()
		if err == nil {
			break
		}
		var lost *amqp.ConnError
		if !errors.As(err, &lost) {
			must(err)
		}
	}
	if cuts < 2 || opened < cuts {
		fail("%d cuts, %d connections", cuts, opened)
	}
}

// What was acknowledged is there, in order but for what was sent again.
func reconnectSender(s *scene) {
	acknowledged := map[int64]bool{}
	throughProxy(s, func(ctx context.Context, on *amqp.Session, counted func()) error {
		sender, err := on.NewSender(ctx, queue("reconnect-sender"), nil)
		if err != nil {
			return err
		}
		for from := int64(0); from < resent; from += 50 {
			receipts := map[int64]amqp.SendReceipt{}
			for number := from; number < from+50; number++ {
				if acknowledged[number] {
					continue
				}
				receipt, err := sender.SendWithReceipt(ctx, value(number), nil)
				if err != nil {
					return err
				}
				receipts[number] = receipt
			}
			for number := from; number < from+50; number++ {
				receipt, ok := receipts[number]
				if !ok {
					continue
				}
				state, err := receipt.Wait(ctx)
				if err != nil {
					return err
				}
				if _, ok := state.(*amqp.StateAccepted); !ok {
					fail("not accepted but %#v", state)
				}
				acknowledged[number] = true
				counted()
			}
		}
		return nil
	})
	var first []any
	seen := map[any]bool{}
	for _, body := range bodies(s.contents(s.session(), queue("reconnect-sender"))) {
		if !seen[body] {
			seen[body] = true
			first = append(first, body)
		}
	}
	equal(first, numbers(0, resent), "numbers, in order of what came first")
}

// Everything arrives; what was not acknowledged before a cut comes again.
func reconnectReceiver(s *scene) {
	s.fill(s.session(), queue("reconnect-receiver"), resent)
	seen := map[int64]bool{}
	throughProxy(s, func(ctx context.Context, on *amqp.Session, counted func()) error {
		options := &amqp.ReceiverOptions{Credit: 50}
		receiver, err := on.NewReceiver(ctx, queue("reconnect-receiver"), options)
		if err != nil {
			return err
		}
		for len(seen) < resent {
			message, err := receiver.Receive(ctx, nil)
			if err != nil {
				return err
			}
			if err := receiver.AcceptMessage(ctx, message); err != nil {
				return err
			}
			seen[message.Value.(int64)] = true
			counted()
		}
		return nil
	})
	var found []any
	for number := range seen {
		found = append(found, number)
	}
	slices.SortFunc(found, func(a, b any) int { return int(a.(int64) - b.(int64)) })
	equal(found, numbers(0, resent), "numbers")
	time.Sleep(50 * time.Millisecond)
}

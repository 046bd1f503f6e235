// Checks of a broker with go-amqp, an AMQP 1.0 client for Go.
//
//	check --list                  the names of the checks
//	check --queues                the queues they need, one a line: NAME {ARGUMENTS}
//	check HOST:PORT [NAME...]     runs all, or those named, or whose names contain NAME
//
// A line for each check, `NAME pass|fail|skip REASON`, then `N passed, N failed`; exit status 1 when
// anything failed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

type arguments map[string]any

// A check, and the queues it needs with their arguments.
type check struct {
	name    string
	queues  map[string]arguments
	seconds int
	run     func(*scene)
}

// usual is a check with a queue of its own name.
func usual(name string, run func(*scene)) check {
	return check{name, map[string]arguments{name: nil}, 30, run}
}

func all() []check {
	return slices.Concat(transfers, outcomes, flows, values, nodes, reconnects)
}

// failure is what a check panics with: it says what was found and not wanted.
type failure struct{ error }

func run(one check, address string) (outcome string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(one.seconds)*time.Second)
	defer cancel()
	s := &scene{ctx: ctx, address: address}
	done := make(chan string, 1)
	go func() {
		defer func() {
			switch said := recover().(type) {
			case nil:
				done <- "pass"
			case failure:
				done <- "fail " + strings.Join(strings.Fields(said.Error()), " ")
			default:
				done <- fmt.Sprintf("fail panic: %v", said)
			}
		}()
		one.run(s)
	}()
	select {
	case outcome = <-done:
	case <-time.After(time.Duration(one.seconds)*time.Second + 2*time.Second):
		// It waits for something without a context: left behind with its connections.
		return "fail took too long"
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && outcome != "pass" {
		outcome += " (took too long)"
	}
	s.close()
	return outcome
}

func chosen(names []string) []check {
	checks := all()
	if len(names) == 0 {
		return checks
	}
	exact := func(name string) bool {
		return slices.ContainsFunc(checks, func(one check) bool { return one.name == name })
	}
	return slices.DeleteFunc(checks, func(one check) bool {
		return !slices.ContainsFunc(names, func(name string) bool {
			return name == one.name || !exact(name) && strings.Contains(one.name, name)
		})
	})
}

func main() {
	switch arg := os.Args[1]; arg {
	case "--list":
		for _, one := range all() {
			fmt.Println(one.name)
		}
	case "--queues":
		for _, one := range all() {
			for name, options := range one.queues {
				if options == nil {
					options = arguments{}
				}
				text, err := json.Marshal(options)
				if err != nil {
					panic(err)
				}
				fmt.Println(queue(name), string(text))
			}
		}
	default:
		passed, failed := 0, 0
		for _, one := range chosen(os.Args[2:]) {
			outcome := run(one, arg)
			if outcome == "pass" {
				passed++
			} else {
				failed++
			}
			fmt.Println(one.name, outcome)
		}
		fmt.Printf("%d passed, %d failed\n", passed, failed)
		if failed > 0 {
			os.Exit(1)
		}
	}
}

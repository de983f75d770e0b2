// The sarama test app. The contract is in tests/clients/README.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/IBM/sarama"
)

var (
	out     sync.Mutex
	paused  atomic.Bool
	holding atomic.Bool
	ctx     context.Context
	closeIt context.CancelFunc
)

func env(name, otherwise string) string {
	if v := os.Getenv("APP_" + name); v != "" {
		return v
	}
	return otherwise
}

func number(name, otherwise string) int {
	n, err := strconv.Atoi(env(name, otherwise))
	check(err)
	return n
}

func say(words ...any) {
	out.Lock()
	defer out.Unlock()
	fmt.Println(strings.ReplaceAll(strings.TrimSpace(fmt.Sprintln(words...)), "\n", " "))
}

func check(err error) {
	if err != nil {
		say("DIED", err)
		os.Exit(3)
	}
}

// listen takes commands from stdin; its end means that the test is gone.
func listen(onPause func(bool)) {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "close":
			closeIt()
		case "pause", "resume":
			paused.Store(in.Text() == "pause")
			onPause(paused.Load())
		case "pause-handler", "resume-handler":
			holding.Store(in.Text() == "pause-handler")
		}
	}
	os.Exit(4)
}

func config() *sarama.Config {
	c := sarama.NewConfig()
	if id := env("CLIENT_ID", "sarama"); id != "-" {
		c.ClientID = id
	}
	c.Version = sarama.V3_6_0_0
	// It gives up when no broker has answered so many times, also when it has only just started.
	c.Metadata.Retry.Max = number("RETRIES", "3")
	if u := env("USER", ""); u != "" {
		c.Net.SASL.Enable, c.Net.SASL.Mechanism = true, sarama.SASLTypePlaintext
		c.Net.SASL.User, c.Net.SASL.Password = u, env("PASSWORD", "")
	}
	return c
}

type handler struct{}

func (handler) Setup(s sarama.ConsumerGroupSession) error {
	say("NOTE session", s.GenerationID(), s.Claims())
	return nil
}

func (handler) Cleanup(s sarama.ConsumerGroupSession) error {
	say("NOTE session end", s.GenerationID())
	return nil
}

func (handler) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	var last *sarama.ConsumerMessage
	commit, n := env("COMMIT", "auto"), 0
	flush := func() {
		if last != nil && commit == "manual" {
			s.Commit()
			say("COMMITTED", last.Topic, last.Partition, last.Offset+1)
			last = nil
		}
	}
	defer flush()
	idle := time.NewTicker(300 * time.Millisecond)
	defer idle.Stop()
	for {
		select {
		case m, ok := <-c.Messages():
			if !ok {
				return nil
			}
			handle(m.Topic, m.Partition, m.Offset, m.Key)
			last = m
			if commit != "none" {
				s.MarkMessage(m, "")
			}
			// Commit queues behind sarama's own long poll, so not after each record.
			if n++; commit == "manual" && n%100 == 0 {
				flush()
			}
			if commit == "each" {
				s.Commit()
				say("COMMITTED", m.Topic, m.Partition, m.Offset+1)
			}
		case <-idle.C:
			flush()
		case <-s.Context().Done():
			return nil
		}
	}
}

func handle(topic string, partition int32, offset int64, key []byte) {
	time.Sleep(time.Duration(number("HANDLER_MS", "0")) * time.Millisecond)
	if key == nil {
		key = []byte("-")
	}
	if holding.Load() {
		say("HOLDING", topic, partition, offset)
	}
	for holding.Load() {
		time.Sleep(10 * time.Millisecond)
	}
	say("HANDLED", topic, partition, offset, string(key))
}

func consume() {
	c := config()
	c.Consumer.Return.Errors = true
	c.Consumer.MaxWaitTime = 500 * time.Millisecond
	// Its default interval is 1 s, so there is no difference.
	c.Consumer.Offsets.AutoCommit.Enable = env("COMMIT", "auto") == "auto" || env("COMMIT", "auto") == "default"
	if env("RESET", "earliest") == "latest" {
		c.Consumer.Offsets.Initial = sarama.OffsetNewest
	} else {
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
	}
	c.Consumer.Group.ResetInvalidOffsets = env("RESET", "earliest") != "none"
	if b := number("FETCH_BYTES", "0"); b > 0 {
		c.Consumer.Fetch.Default, c.ChannelBufferSize = int32(b), 1
	}
	if env("ISOLATION", "") == "read_committed" {
		c.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	if env("PROTOCOL", "classic") != "classic" {
		check(errors.New("sarama has no group protocol but the classic one"))
	}
	boot := []string{env("BOOTSTRAP", "")}
	if env("ASSIGN", "") != "" {
		assigned(boot, c)
		return
	}
	g, err := sarama.NewConsumerGroup(boot, env("GROUP", ""), c)
	check(err)
	go listen(func(p bool) {
		if p {
			g.PauseAll()
			say("PAUSED")
		} else {
			g.ResumeAll()
			say("RESUMED")
		}
	})
	go func() {
		for e := range g.Errors() {
			// Commit returns nothing: its errors come here, a moment later.
			if env("COMMIT", "auto") == "each" {
				check(e)
			}
			say("ERR", e)
		}
	}()
	say("READY")
	for ctx.Err() == nil { // the loop of sarama's documentation
		if err := g.Consume(ctx, strings.Split(env("TOPICS", ""), ","), handler{}); err != nil && ctx.Err() == nil {
			check(err)
		}
	}
	check(g.Close())
}

func assigned(boot []string, c *sarama.Config) {
	go listen(func(bool) {})
	cl, err := sarama.NewConsumer(boot, c)
	check(err)
	say("READY")
	for _, a := range strings.Split(env("ASSIGN", ""), ",") {
		w := strings.Split(a, ":")
		p, err := strconv.Atoi(w[1])
		check(err)
		at := map[string]int64{"earliest": sarama.OffsetOldest, "latest": sarama.OffsetNewest}[w[2]]
		if at == 0 {
			at, err = strconv.ParseInt(w[2], 10, 64)
			check(err)
		}
		pc, err := cl.ConsumePartition(w[0], int32(p), at)
		check(err)
		go func() {
			for e := range pc.Errors() {
				say("ERR", e)
			}
		}()
		go func() {
			for m := range pc.Messages() {
				handle(m.Topic, m.Partition, m.Offset, m.Key)
			}
		}()
	}
	<-ctx.Done()
	check(cl.Close())
}

func produce() {
	go listen(func(bool) {})
	c := config()
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = map[string]sarama.RequiredAcks{"all": sarama.WaitForAll, "1": sarama.WaitForLocal, "0": sarama.NoResponse}[env("ACKS", "all")]
	if env("IDEMPOTENCE", "false") == "true" {
		c.Producer.Idempotent, c.Net.MaxOpenRequests = true, 1
	}
	p, err := sarama.NewAsyncProducer([]string{env("BOOTSTRAP", "")}, c)
	check(err)
	var results sync.WaitGroup
	results.Add(2)
	go func() {
		defer results.Done()
		for m := range p.Successes() {
			say("SENT", m.Topic, m.Partition, m.Offset, m.Value)
		}
	}()
	go func() {
		defer results.Done()
		for e := range p.Errors() {
			say("ERR", e)
		}
	}()
	say("READY")
	topics, count, rate := strings.Split(env("TOPICS", ""), ","), number("COUNT", "0"), number("RATE", "20")
	keyed, next := env("KEYS", "vary") != "none", time.Now()
	for i := 0; ctx.Err() == nil && (count == 0 || i < count); {
		if !paused.Load() {
			m := &sarama.ProducerMessage{Topic: topics[i%len(topics)], Value: sarama.StringEncoder("r" + strconv.Itoa(i))}
			if keyed {
				m.Key = sarama.StringEncoder("k" + strconv.Itoa(i))
			}
			p.Input() <- m
			i++
		}
		if late := time.Now().Add(-time.Second); next.Before(late) {
			next = late
		}
		next = next.Add(time.Second / time.Duration(rate))
		time.Sleep(time.Until(next))
	}
	p.AsyncClose()
	results.Wait()
}

func main() {
	ctx, closeIt = context.WithCancel(context.Background())
	if env("SIGNALS", "") != "default" {
		ctx, closeIt = signal.NotifyContext(ctx, syscall.SIGTERM)
	}
	if env("MODE", "consume") == "consume" {
		consume()
	} else {
		produce()
	}
	say("CLOSED")
}

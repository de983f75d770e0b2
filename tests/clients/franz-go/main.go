// The franz-go test app. The contract is in tests/clients/README.md.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
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

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
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
func listen() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "close":
			closeIt()
		case "pause":
			paused.Store(true)
		case "resume":
			paused.Store(false)
		case "pause-handler":
			holding.Store(true)
		case "resume-handler":
			holding.Store(false)
		}
	}
	os.Exit(4)
}

func common() []kgo.Opt {
	// A login that is refused shows only in its log.
	logger := kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)
	opts := []kgo.Opt{kgo.SeedBrokers(env("BOOTSTRAP", "")), kgo.WithLogger(logger)}
	if id := env("CLIENT_ID", "franz-go"); id != "-" {
		opts = append(opts, kgo.ClientID(id))
	}
	if env("USER", "") != "" {
		opts = append(opts, kgo.SASL(login(env("USER", ""), env("PASSWORD", ""))))
	}
	if env("CA", "") != "" {
		opts = append(opts, kgo.DialTLSConfig(secure()))
	}
	return opts
}

func login(user, password string) sasl.Mechanism {
	switch env("SASL", "PLAIN") {
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	case "OAUTHBEARER":
		return oauth.Auth{Token: env("TOKEN", "")}.AsMechanism()
	}
	return plain.Auth{User: user, Pass: password}.AsMechanism()
}

// secure trusts the authority of the test, and bears a certificate where there is one.
func secure() *tls.Config {
	ca, err := os.ReadFile(env("CA", ""))
	check(err)
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	conf.RootCAs.AppendCertsFromPEM(ca)
	if env("CERT", "") != "" {
		own, err := tls.LoadX509KeyPair(env("CERT", ""), env("KEY", ""))
		check(err)
		conf.Certificates = []tls.Certificate{own}
	}
	return conf
}

func consumer() (*kgo.Client, error) {
	opts := append(common(), kgo.FetchMaxWait(500*time.Millisecond))
	if b := number("FETCH_BYTES", "0"); b > 0 {
		opts = append(opts, kgo.FetchMaxPartitionBytes(int32(b)))
	}
	if env("ISOLATION", "") == "read_committed" {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	switch env("RESET", "earliest") {
	case "earliest":
		opts = append(opts, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	case "latest":
		opts = append(opts, kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	case "none":
		opts = append(opts, kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	}
	if assign := env("ASSIGN", ""); assign != "" {
		all := map[string]map[int32]kgo.Offset{}
		for _, a := range strings.Split(assign, ",") {
			w := strings.Split(a, ":")
			p, err := strconv.Atoi(w[1])
			check(err)
			o := kgo.NewOffset()
			switch w[2] {
			case "earliest":
				o = o.AtStart()
			case "latest":
				o = o.AtEnd()
			default:
				at, err := strconv.ParseInt(w[2], 10, 64)
				check(err)
				o = o.At(at)
			}
			if all[w[0]] == nil {
				all[w[0]] = map[int32]kgo.Offset{}
			}
			all[w[0]][int32(p)] = o
		}
		return kgo.NewClient(append(opts, kgo.ConsumePartitions(all))...)
	}
	opts = append(opts, kgo.ConsumerGroup(env("GROUP", "")), kgo.ConsumeTopics(strings.Split(env("TOPICS", ""), ",")...))
	if env("PROTOCOL", "classic") == "consumer" {
		// The opt-in of this version for KIP-848.
		opts = append(opts, kgo.WithContext(context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)))
	}
	// Marked once handled, else the commit on close covers what was only polled.
	switch env("COMMIT", "auto") {
	case "auto":
		opts = append(opts, kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second))
	case "default":
	default:
		opts = append(opts, kgo.DisableAutoCommit())
	}
	return kgo.NewClient(opts...)
}

func consume() {
	cl, err := consumer()
	check(err)
	say("READY")
	commit, handler, group := env("COMMIT", "auto"), number("HANDLER_MS", "0"), env("GROUP", "") != "" && env("ASSIGN", "") == ""
	topics := strings.Split(env("TOPICS", ""), ",")
	held, done := false, map[string]*kgo.Record{}
	flush := func() {
		c, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var rs []*kgo.Record
		for _, r := range done {
			rs = append(rs, r)
		}
		check(cl.CommitRecords(c, rs...))
		for _, r := range rs {
			say("COMMITTED", r.Topic, r.Partition, r.Offset+1)
		}
		done = map[string]*kgo.Record{}
	}
	for ctx.Err() == nil {
		if p := paused.Load(); p != held {
			held = p
			if p {
				cl.PauseFetchTopics(topics...)
				say("PAUSED")
			} else {
				cl.ResumeFetchTopics(topics...)
				say("RESUMED")
			}
		}
		c, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		fs := cl.PollFetches(c)
		cancel()
		fs.EachError(func(t string, p int32, e error) {
			if !errors.Is(e, context.DeadlineExceeded) && !errors.Is(e, context.Canceled) {
				say("ERR", t, p, e)
				time.Sleep(200 * time.Millisecond)
			}
		})
		fs.EachRecord(func(r *kgo.Record) {
			if ctx.Err() != nil {
				return
			}
			time.Sleep(time.Duration(handler) * time.Millisecond)
			if holding.Load() {
				say("HOLDING", r.Topic, r.Partition, r.Offset)
			}
			for holding.Load() {
				time.Sleep(10 * time.Millisecond)
			}
			key := "-"
			if r.Key != nil {
				key = string(r.Key)
			}
			say("HANDLED", r.Topic, r.Partition, r.Offset, key)
			done[fmt.Sprint(r.Topic, r.Partition)] = r
			if commit == "auto" && group {
				cl.MarkCommitRecords(r)
			}
			if commit == "each" {
				flush()
			}
		})
		if commit == "manual" && len(done) > 0 {
			flush()
		}
	}
	if commit != "none" && commit != "default" && len(done) > 0 && group {
		flush()
	}
	cl.Close()
}

func produce() {
	// Plain batches, so that a test can read them back without a codec.
	opts := append(common(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	switch env("ACKS", "all") {
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()))
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()))
	}
	if env("IDEMPOTENCE", "false") != "true" {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	var all sync.WaitGroup
	clients := number("CLIENTS", "1")
	for n := range clients {
		own := opts
		if clients > 1 {
			own = append(opts[:len(opts):len(opts)], kgo.ClientID(fmt.Sprint(env("CLIENT_ID", "franz-go"), "-", n)))
		}
		cl, err := kgo.NewClient(own...)
		check(err)
		all.Add(1)
		go func() {
			defer all.Done()
			send(cl)
		}()
	}
	say("READY")
	all.Wait()
}

// send has one client send until it is enough.
func send(cl *kgo.Client) {
	topics, count, rate := strings.Split(env("TOPICS", ""), ","), number("COUNT", "0"), number("RATE", "20")
	keyed, next := env("KEYS", "vary") != "none", time.Now()
	for i := 0; ctx.Err() == nil && (count == 0 || i < count); {
		if !paused.Load() {
			r := &kgo.Record{Topic: topics[i%len(topics)], Value: fmt.Append(nil, "r", i)}
			if keyed {
				r.Key = fmt.Append(nil, "k", i)
			}
			cl.Produce(context.Background(), r, func(r *kgo.Record, e error) {
				if e != nil {
					say("ERR", e)
				} else {
					say("SENT", r.Topic, r.Partition, r.Offset, string(r.Value))
				}
			})
			i++
		}
		if late := time.Now().Add(-time.Second); next.Before(late) {
			next = late
		}
		next = next.Add(time.Second / time.Duration(rate))
		time.Sleep(time.Until(next))
	}
	c, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	check(cl.Flush(c))
	cl.Close()
}

func main() {
	ctx, closeIt = context.WithCancel(context.Background())
	if env("SIGNALS", "") != "default" {
		ctx, closeIt = signal.NotifyContext(ctx, syscall.SIGTERM)
	}
	go listen()
	if env("MODE", "consume") == "consume" {
		consume()
	} else {
		produce()
	}
	say("CLOSED")
}

// A member of a group on franz-go, in several versions. The contract is in tests/clients/README.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	out   sync.Mutex
	topic = env("TOPICS", "")
	words = make(chan string, 16)
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

// numbers reads "0,3,5".
func numbers(text string) (all []int32) {
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(w)
		check(err)
		all = append(all, int32(n))
	}
	return all
}

// heard says what a callback was given: the generation, and the partitions in order.
func heard(what string) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(ctx context.Context, cl *kgo.Client, all map[string][]int32) {
		if what == "ASSIGNED" && env("PAUSE_AT", "") != "" {
			cl.PauseFetchPartitions(map[string][]int32{topic: numbers(env("PAUSE_AT", ""))})
		}
		if what == "REVOKED" && env("COMMIT", "auto") == "auto" {
			if err := cl.CommitMarkedOffsets(ctx); err != nil {
				say("NOTE", "commit when revoked:", err)
			}
		}
		var list []string
		ps := append([]int32{}, all[topic]...)
		sort.Slice(ps, func(i, j int) bool { return ps[i] < ps[j] })
		for _, p := range ps {
			list = append(list, strconv.Itoa(int(p)))
		}
		_, generation := cl.GroupMetadata()
		say(what, generation, strings.Join(list, ","))
	}
}

func consumer() (*kgo.Client, error) {
	known := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
		"sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}
	var balancers []kgo.GroupBalancer
	for _, name := range strings.Split(env("BALANCERS", "cooperative-sticky"), ",") {
		balancers = append(balancers, known[name])
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(env("BOOTSTRAP", "")), kgo.ClientID(env("CLIENT_ID", "franz-go")),
		kgo.ConsumerGroup(env("GROUP", "")), kgo.ConsumeTopics(topic), kgo.Balancers(balancers...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.HeartbeatInterval(500 * time.Millisecond), kgo.SessionTimeout(10 * time.Second),
		kgo.OnPartitionsAssigned(heard("ASSIGNED")), kgo.OnPartitionsRevoked(heard("REVOKED")),
		kgo.OnPartitionsLost(heard("LOST")),
	}
	if env("COMMIT", "auto") == "auto" {
		opts = append(opts, kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second))
	} else {
		opts = append(opts, kgo.DisableAutoCommit())
	}
	if env("ISOLATION", "") == "read_committed" {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if id := env("INSTANCE", ""); id != "" {
		opts = append(opts, kgo.InstanceID(id))
	}
	return kgo.NewClient(opts...)
}

// listen takes commands from stdin; its end means that the test is gone.
func listen() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words <- in.Text()
	}
	os.Exit(4)
}

// obey carries out "pause", "pause 0,3", "resume" and so on; false for "close".
func obey(cl *kgo.Client, line string) bool {
	word, which, _ := strings.Cut(line, " ")
	some := map[string][]int32{topic: numbers(which)}
	switch {
	case word == "close":
		return false
	case word == "pause" && which != "":
		cl.PauseFetchPartitions(some)
		say("PAUSED")
	case word == "pause":
		cl.PauseFetchTopics(topic)
		say("PAUSED")
	case word == "resume" && which != "":
		cl.ResumeFetchPartitions(some)
		say("RESUMED")
	case word == "resume":
		cl.ResumeFetchTopics(topic)
		say("RESUMED")
	}
	return true
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go listen()
	cl, err := consumer()
	check(err)
	say("READY")
	commit, handler := env("COMMIT", "auto"), number("HANDLER_MS", "0")
	for going := true; going && ctx.Err() == nil; {
		select {
		case line := <-words:
			going = obey(cl, line)
		default:
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
		done := map[int32]*kgo.Record{}
		fs.EachRecord(func(r *kgo.Record) {
			time.Sleep(time.Duration(handler) * time.Millisecond)
			if ctx.Err() != nil {
				return
			}
			say("HANDLED", r.Topic, r.Partition, r.Offset, "-")
			done[r.Partition] = r
			if commit == "auto" {
				cl.MarkCommitRecords(r)
			}
		})
		if commit == "manual" && len(done) > 0 {
			var rs []*kgo.Record
			for _, r := range done {
				rs = append(rs, r)
			}
			check(cl.CommitRecords(context.Background(), rs...))
		}
	}
	if commit == "auto" {
		c, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := cl.CommitMarkedOffsets(c); err != nil {
			say("NOTE", "commit at the end:", err)
		}
		cancel()
	}
	cl.Close()
	say("CLOSED")
}

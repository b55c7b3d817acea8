//go:build lab

package runner

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// clientPID finds the client's process: the one that lives in the client's namespace.
func clientPID(l *lab.Lab) (int, error) {
	link, err := os.Readlink(l.Client.NamespacePath())
	if err != nil {
		return 0, err
	}
	inode, err := strconv.ParseUint(strings.Trim(link, "net:[]"), 10, 64)
	if err != nil {
		return 0, err
	}
	users, err := netns.Users(inode)
	if err != nil || len(users) != 1 {
		return 0, fmt.Errorf("processes of the client: got %q, %w, want one", users, err)
	}
	_, pid, _ := strings.Cut(users[0], "(")
	return strconv.Atoi(strings.TrimSuffix(pid, ")"))
}

// TestLost catches a run that loses what it had seen, or calls it a pass or the kernel's fault, when a capture, the client or a counter
// is lost half-way: each must be inconclusive, with its packets kept. The last one stops the client's process over the end of connect(2):
// only what it tells is late then, and a judge that trusts it would blame the kernel.
func TestLost(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lose  func(ctx context.Context, l *lab.Lab) error
		check string // which must be inconclusive
		code  string
	}{
		{"capture", func(ctx context.Context, l *lab.Lab) error { return shell(ctx, l.Client, "ip link set eth0 down") },
			"count", explain.ObservationEnded},
		{"the server's capture", func(ctx context.Context, l *lab.Lab) error { return shell(ctx, l.Server, "ip link set eth0 down") },
			"count", explain.ObservationEnded},
		{"capture, and the link comes back", func(ctx context.Context, l *lab.Lab) error {
			return shell(ctx, l.Client, "ip link set eth0 down && ip link set eth0 up")
		}, "count", explain.ObservationEnded},
		{"the server's capture, and the link comes back", func(ctx context.Context, l *lab.Lab) error {
			return shell(ctx, l.Server, "ip link set eth0 down && ip link set eth0 up")
		}, "count", explain.ObservationEnded},
		{"client", func(_ context.Context, l *lab.Lab) error {
			pid, err := clientPID(l)
			if err != nil {
				return err
			}
			return syscall.Kill(pid, syscall.SIGKILL)
		}, "count", explain.ObservationEnded},
		{"counter", func(ctx context.Context, l *lab.Lab) error { // the SYNs still die, elsewhere
			return shell(ctx, l.Server, "iptables -t raw -A PREROUTING -p tcp --syn -j DROP && iptables -D INPUT 1")
		},
			"rule-server-input", explain.RuleCounterOff},
		{"attention", func(ctx context.Context, l *lab.Lab) error {
			pid, err := clientPID(l)
			if err != nil {
				return err
			}
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				return err
			}
			select { // connect(2) ends at 3.1 s at the latest
			case <-time.After(4 * time.Second):
			case <-ctx.Done():
			}
			return syscall.Kill(pid, syscall.SIGCONT)
		}, "death", explain.Stall},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for i := range attempts {
				x := synLoss(t)
				seen := make(chan struct{})
				first := sync.OnceFunc(func() { close(seen) })
				beside(x, func(ctx context.Context, l *lab.Lab, _ experiments.Env) error {
					select {
					case <-seen:
						return tt.lose(ctx, l)
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				r := once(t, Options{Experiment: x, Plan: fast(t, x, nil), Watch: &onFirst{do: first}}, i >= attempts-alone)
				if r.Verdict != result.Inconclusive || len(r.Packets) == 0 {
					t.Errorf("got %s with %d packets (%s), want inconclusive with some", r.Verdict, len(r.Packets), r.Reason)
				}
				if slices.ContainsFunc(r.Checks, func(c result.Check) bool { return c.ID == tt.check && c.Code == tt.code }) {
					return
				}
				late := strings.Contains(r.Reason, experiments.ErrLate.Error())
				if calm(r) && !late || i == attempts-1 { // else a stall of the machine's may be the reason that is given
					t.Fatalf("checks: got %+v, want %s with %s", r.Checks, tt.check, tt.code)
				}
			}
		})
	}
}

// TestLate catches a run that broke something too late and is judged all the same: with no drop it contradicts the prediction.
func TestLate(t *testing.T) {
	t.Parallel()
	x := synLoss(t)
	faults(x)
	honest := x.Run
	x.Run = func(ctx context.Context, l *lab.Lab, e experiments.Env) error {
		if err := honest(ctx, l, e); err != nil {
			return err
		}
		return fmt.Errorf("%w: in this test", experiments.ErrLate)
	}
	r := once(t, Options{Experiment: x, Plan: fast(t, x, nil)}, false)
	if r.Verdict != result.Inconclusive || !strings.Contains(r.Reason, "in this test") {
		t.Errorf("got %s (%s), want inconclusive for what Run said", r.Verdict, r.Reason)
	}
	if o := r.Outcome; o == nil || o.Verdict != result.Inconclusive {
		t.Errorf("end of the call: got %+v, want it inconclusive as its check is", o)
	}
}

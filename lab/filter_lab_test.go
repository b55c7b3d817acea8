//go:build lab

package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-iptables/iptables"

	"github.com/tcplab/tcplab/internal/labtest"
)

// xtablesThat puts a program in the place of iptables until the test ends.
func xtablesThat(t *testing.T, path string) {
	t.Helper()
	ipt, err := iptables.New(iptables.Path(path))
	if err != nil {
		t.Fatal(err)
	}
	real := command4
	command4 = func() (xtables, error) { return xtables{ipt, path}, nil }
	t.Cleanup(func() { command4 = real })
}

// faultyIPTables is an iptables that does what a script says where an operation's number is in the file "fails" beside it, or "A*", "D*" or "L*":
// "A2 D*" are the second -A and every -D. The counting begins where the file is written.
func faultyIPTables(t *testing.T, script string) (fails func(which string)) {
	t.Helper()
	labtest.Need(t, labtest.IPTables)
	real, err := exec.LookPath("iptables")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := `#!/bin/sh
case " $* " in *" -A "*) op=A;; *" -D "*) op=D;; *" -L "*) op=L;; *) exec ` + real + ` "$@";; esac
echo >>` + dir + `/$op
which="$op$(wc -l <` + dir + `/$op)"
case " $(cat ` + dir + `/fails) " in *" $which "*|*" $op* "*) ;; *) exec ` + real + ` "$@";; esac
real=` + real + `
` + script + "\n"
	fails = func(which string) {
		t.Helper()
		for _, op := range []string{"A", "D", "L"} {
			_ = os.Remove(filepath.Join(dir, op)) // not there yet: good
		}
		if err := os.WriteFile(filepath.Join(dir, "fails"), []byte(which), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fails("")
	program := filepath.Join(dir, "iptables")
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	xtablesThat(t, program)
	return fails
}

// inChain are the ports of the rules of INPUT, in order.
func inChain(t *testing.T, h *Host) string {
	t.Helper()
	var ports []string
	for line := range strings.Lines(run(t, h, "iptables", "-S", "INPUT")) {
		if _, rest, ok := strings.Cut(line, "--dport "); ok {
			ports = append(ports, strings.Fields(rest)[0])
		}
	}
	return strings.Join(ports, " ")
}

// How iptables fails: it refuses, or it does its work and dies before it can say so.
var failures = map[string]string{"refuses": `echo "no" >&2; exit 1`, "dies": `kill -9 $$`, "dies afterwards": `$real "$@"; kill -9 $$`}

// TestDropFailsMidway catches half a rule that stays, and a later rule whose place is not where it is looked for: iptables fails at each of the three -A
// of one rule in turn.
func TestDropFailsMidway(t *testing.T) {
	for how, script := range failures {
		t.Run(how, func(t *testing.T) {
			fails := faultyIPTables(t, script)
			l := build(t, Topology{})
			before, err := l.Server.Drop(t.Context(), DropSYN(8080))
			if err != nil {
				t.Fatal(err)
			}
			for _, which := range []string{"A1", "A2", "A3"} {
				fails(which)
				f, err := l.Server.Drop(t.Context(), DropData(8081, 4, 9, 5))
				if err == nil || f != nil || errors.Is(err, ErrUnsupported) != (how == "refuses") {
					t.Errorf("%s: got %v, %v, want an error that says whether iptables refused it", which, f, err)
				}
				if got := inChain(t, l.Server); got != "8080" {
					t.Errorf("%s: got rules for %q, want 8080 alone", which, got)
				}
			}
			fails("")
			after, err := l.Server.Drop(t.Context(), DropSYN(8082))
			if err != nil {
				t.Fatal(err)
			}
			sendSYNs(t, l.Client, l.Server, 8080, 1)
			sendSYNs(t, l.Client, l.Server, 8082, 3)
			counts(t, before, 1)
			counts(t, after, 3)
		})
	}
}

// TestDropNotTakenBack catches rules that are there and that nobody lists: iptables fails at the second -A and at every -D. They are listed, what comes
// later has its place behind them, and they go when iptables works again.
func TestDropNotTakenBack(t *testing.T) {
	for how, script := range failures {
		if how == "dies afterwards" {
			continue // nothing is left
		}
		t.Run(how, func(t *testing.T) {
			fails := faultyIPTables(t, script)
			l := build(t, Topology{})
			fails("A3 D*")
			if _, err := l.Server.Drop(t.Context(), DropData(8081, 4, 9, 5)); err == nil || !strings.Contains(err.Error(), "take back") {
				t.Errorf("got %v, want an error that says that it could not be taken back", err)
			}
			fails("")
			after, err := l.Server.Drop(t.Context(), DropSYN(8082))
			if err != nil {
				t.Fatal(err)
			}
			if got := inChain(t, l.Server); got != "8081 8081 8082" {
				t.Errorf("got rules for %q, want two that were left and the last", got)
			}
			sendSYNs(t, l.Client, l.Server, 8082, 3)
			counts(t, after, 3)
			left := l.Server.Rules()
			if len(left) != 2 {
				t.Fatalf("rules: got %v, want what was left and the last", left)
			}
			if err := left[0].Remove(t.Context()); err != nil {
				t.Error(err)
			}
			if got := inChain(t, l.Server); got != "8082" {
				t.Errorf("got rules for %q, want 8082 alone", got)
			}
			counts(t, after, 3)
		})
	}
}

// TestRemoveFailsMidway catches a rule that is half removed and shifts the places of all later ones: iptables fails at each of three -D in turn. Trying
// again goes on where it stopped.
func TestRemoveFailsMidway(t *testing.T) {
	for how, script := range failures {
		t.Run(how, func(t *testing.T) {
			fails := faultyIPTables(t, script)
			l := build(t, Topology{})
			for _, which := range []string{"D1", "D2", "D3"} {
				half, err := l.Server.Drop(t.Context(), Rule{Chain: "INPUT", ToPort: 8081, Nth: []int{1, 2, 3}})
				if err != nil {
					t.Fatal(err)
				}
				after, err := l.Server.Drop(t.Context(), DropSYN(8082))
				if err != nil {
					t.Fatal(err)
				}
				sendSYNs(t, l.Client, l.Server, 8081, 2)
				sendSYNs(t, l.Client, l.Server, 8082, 3)
				fails(which)
				if err := half.Remove(t.Context()); err == nil {
					t.Errorf("%s: got no error, want one", which)
				}
				fails("")
				counts(t, after, 3)
				counts(t, half, 2)
				if err := half.Remove(t.Context()); err != nil {
					t.Errorf("%s, again: %v", which, err)
				}
				counts(t, half, 2)
				if got := inChain(t, l.Server); got != "8082" {
					t.Errorf("%s: got rules for %q, want 8082 alone", which, got)
				}
				if err := after.Remove(t.Context()); err != nil || len(l.Server.Rules()) != 0 {
					t.Errorf("%s: got %v and rules %v, want none", which, err, l.Server.Rules())
				}
			}
		})
	}
}

// TestIPTablesHangs catches a Drop that waits for an iptables longer than its caller has time, or for what that has started: both hold the pipe that is
// read. A context whose time is up ends it as the end of patience does.
func TestIPTablesHangs(t *testing.T) {
	for how, script := range map[string]string{"itself": "exec sleep 1000", "what it started": "sleep 1000; exit 0"} {
		t.Run(how, func(t *testing.T) {
			fails := faultyIPTables(t, script)
			l := build(t, Topology{})
			fails("A2")
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			begun := time.Now()
			if _, err := l.Server.Drop(ctx, DropData(8081, 4, 9, 5)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want that its time is up", err)
			}
			if took := time.Since(begun); took > patience {
				t.Errorf("took %v, want less than %v", took, patience)
			}
			fails("")
			if got := inChain(t, l.Server); got != "" {
				t.Errorf("got rules for %q, want none: the first was taken back", got)
			}
		})
	}
}

// TestLocked holds the lock of iptables-legacy. The machine's holds up no lab, which has a /run of its own; the lab's own, which nobody else can take,
// holds a rule up until the caller's time is up, and no longer.
func TestLocked(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.Command("iptables-legacy"))
	legacy, err := exec.LookPath("iptables-legacy")
	if err != nil {
		t.Fatal(err)
	}
	xtablesThat(t, legacy)
	l := build(t, Topology{})
	hold := func() (release func()) {
		lock, err := os.OpenFile("/run/xtables.lock", os.O_RDONLY|os.O_CREATE, 0o600)
		if err == nil {
			err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		if err != nil {
			t.Fatal(err)
		}
		return func() { lock.Close() }
	}
	_, machines := os.Stat("/run/xtables.lock")
	release := hold()
	if _, err := l.Server.Drop(t.Context(), DropSYN(8080)); err != nil {
		t.Errorf("the machine's lock is held: got %v, want a rule", err)
	}
	release()
	if errors.Is(machines, os.ErrNotExist) { // this test made it
		if err := os.Remove("/run/xtables.lock"); err != nil {
			t.Error(err)
		}
	}
	if err := l.Server.Do(func() error { release = hold(); return nil }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := l.Server.Drop(ctx, DropSYN(8081)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the lab's lock is held: got %v, want that its time is up", err)
	}
	release()
	f, err := l.Server.Drop(t.Context(), DropSYN(8082))
	if err != nil {
		t.Fatal(err)
	}
	sendSYNs(t, l.Client, l.Server, 8082, 2)
	counts(t, f, 2)
}

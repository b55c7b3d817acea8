package labtest

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	settleFor   = 20 * time.Second      // how long a closing lab may take on a busy machine: the kernel frees namespaces from a work queue (cleanup_net)
	settleEvery = 20 * time.Millisecond // how often Leaks looks again while it waits
)

// Leaks runs the package's tests and then looks for what they left behind. It returns the exit code for os.Exit: the one of
// m.Run, or 1 when something is left.
//
//	func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }
//
// It compares before with after: open descriptors, goroutines, child processes (orphans too), the network namespaces that this
// process, its threads and its children hold, named namespaces (bind mounts of nsfs) and the links of the host's namespace. What
// goes away within twenty seconds is no leak.
//
// The last two belong to the whole machine. Another program that adds a link or a named namespace, and keeps it, is reported too;
// make lab therefore runs one package at a time.
func Leaks(m *testing.M) int {
	return leaks(m.Run, settleFor, os.Stderr)
}

// leaks is Leaks with its parts open to its own tests.
func leaks(run func() int, settle time.Duration, w io.Writer) int {
	mark, err := markChildren()
	if err != nil {
		fmt.Fprintf(w, "labtest: leak check: %v\n", err)
		return 1
	}
	defer mark.remove()
	if err := startPoller(); err != nil {
		fmt.Fprintf(w, "labtest: leak check: %v\n", err)
		return 1
	}
	before, err := take(mark)
	if err != nil {
		fmt.Fprintf(w, "labtest: leak check before the tests: %v\n", err)
		return 1
	}
	code := run()
	left, err := settled(before, mark, settle)
	if err != nil {
		fmt.Fprintf(w, "labtest: leak check after the tests: %v\n", err)
		return 1
	}
	if len(left) == 0 {
		return code
	}
	fmt.Fprintf(w, "labtest: the tests left %d things behind (still there after %v):\n", len(left), settle)
	for _, item := range left {
		fmt.Fprintf(w, "\t%s\n", strings.ReplaceAll(item, "\n", "\n\t\t"))
	}
	return max(code, 1)
}

// settled takes snapshots until nothing new is left or the time is up, and returns what is left in a fixed order.
func settled(before snapshot, mark marker, settle time.Duration) ([]string, error) {
	deadline := time.Now().Add(settle)
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		after, err := take(mark)
		if err != nil {
			return nil, err
		}
		left := after.minus(before)
		if len(left) == 0 || time.Now().After(deadline) {
			return left, nil
		}
		<-tick.C
	}
}

// A snapshot is what exists at one moment: the key names a thing for ever (it is never given to another one), the value
// describes it for a person.
type snapshot map[string]string

// minus returns the descriptions of the things in s that are not in before.
func (s snapshot) minus(before snapshot) []string {
	var left []string
	for key, what := range s {
		if _, ok := before[key]; !ok {
			left = append(left, what)
		}
	}
	slices.Sort(left)
	return left
}

// take counts everything that Leaks watches.
func take(mark marker) (snapshot, error) {
	s := snapshot{}
	for _, c := range []struct {
		what string
		add  func(snapshot, marker) error
	}{
		{"descriptors", addDescriptors},
		{"goroutines", addGoroutines},
		{"processes and their namespaces", addProcesses},
		{"threads and their namespaces", addThreads},
		{"named namespaces", addNamed},
		{"links", addLinks},
	} {
		if err := c.add(s, mark); err != nil {
			return nil, fmt.Errorf("count %s: %w", c.what, err)
		}
	}
	return s, nil
}

// startPoller makes the Go runtime open its epoll descriptor and its eventfd now. They stay open for ever, so they must be there
// in the first snapshot.
func startPoller() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("open a pipe: %w", err)
	}
	if err := r.Close(); err != nil {
		return fmt.Errorf("close the pipe: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("close the pipe: %w", err)
	}
	return nil
}

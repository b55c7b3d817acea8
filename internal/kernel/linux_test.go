//go:build linux

package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHZOfTick catches a HZ that is rounded the wrong way.
func TestHZOfTick(t *testing.T) {
	for _, tt := range []struct {
		name string
		tick time.Duration
		want int // 0: an error
	}{
		{"100", 10 * time.Millisecond, 100}, {"250", 4 * time.Millisecond, 250}, {"300", 3333333, 300}, {"1000", time.Millisecond, 1000},
		{"1024", 976563, 1024}, {"24", 41666667, 24}, {"old x86 1000", 999848, 1000}, {"zero", 0, 0}, {"hrtimer", 1, 0}, {"a second", time.Second, 0},
		{"between two HZ", 35 * time.Millisecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := hzOfTick(tt.tick)
			if got != tt.want || (err == nil) != (tt.want != 0) {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
		})
	}
}

// TestRunningByFile catches a backport, or a knob that is gone, that is judged by version although its file can be seen.
func TestRunningByFile(t *testing.T) {
	for _, tt := range []struct {
		name, release  string
		files          []string
		linear, rtoMax bool
		from           string // provenance of tcp_syn_linear_timeouts
	}{
		{"backport", "5.14.0-503.el9", []string{"tcp_syn_retries", "tcp_syn_linear_timeouts"}, true, false, "its file exists in "},
		{"removed", "6.18.44", []string{"tcp_syn_retries"}, false, false, "its file is absent from "},
		{"all there", "6.18.44", []string{"tcp_syn_retries", "tcp_syn_linear_timeouts", "tcp_rto_max_ms"}, true, true, "its file exists in "},
		{"no knobs to see", "6.18.44", nil, true, true, "kernel version 6.18.44"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f, err := running(tt.release, "x86_64", 4*time.Millisecond, dir)
			if err != nil {
				t.Fatal(err)
			}
			if f.SYNLinear != tt.linear || f.RTOMax != tt.rtoMax {
				t.Errorf("got linear %v, largest RTO %v, want %v, %v", f.SYNLinear, f.RTOMax, tt.linear, tt.rtoMax)
			}
			if got := f.From["tcp_syn_linear_timeouts"]; !strings.HasPrefix(got, tt.from) {
				t.Errorf("got provenance %q, want %q", got, tt.from)
			}
		})
	}
	if _, err := running("2.6.32", "x86_64", 4*time.Millisecond, t.TempDir()); err == nil {
		t.Error("2.6.32: got no error, want one: tcplab does not predict it")
	}
}

// TestRunning catches a fact that the kernel under test contradicts: its tick is HZ, and every fact says where it comes from.
func TestRunning(t *testing.T) {
	f, err := Running()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range f.Table() {
		if row[1] == "" || row[2] == "given" {
			t.Errorf("%s: got value %q from %q, want both, and nothing given", row[0], row[1], row[2])
		}
	}
	t.Logf("%v", f.Table())
}

// TestReadClock catches a phase that changes between readings. Without root it checks that the refusal can be told from others.
func TestReadClock(t *testing.T) {
	start, err := MonotonicNow()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadClock()
	if os.Geteuid() != 0 {
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "root") {
			t.Errorf("got %v, want fs.ErrPermission and a word about root", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	end, err := MonotonicNow()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", c, end-start)
	for range 10 {
		again, err := ReadClock()
		if err != nil {
			t.Fatal(err)
		}
		if off := again.Zero - c.Zero; off > c.Uncertainty+again.Uncertainty || -off > c.Uncertainty+again.Uncertainty {
			t.Errorf("got jiffy 0 at %v, want %v as before", again.Zero, c.Zero)
		}
	}
	if j, phase := c.At(end); c.Start(j)+phase != end {
		t.Errorf("got jiffy %d + %v, want it to make %v", j, phase, end)
	}
}

// TestReadClockFailures catches an unreadable or strange file that is not said to be one.
func TestReadClockFailures(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "timer_list")
	if _, err := readClock(empty, time.Millisecond); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v, want fs.ErrNotExist", err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readClock(empty, time.Millisecond); !errors.Is(err, errTimerList) {
		t.Errorf("empty file: got %v, want an error that says what a timer list looks like", err)
	}
}

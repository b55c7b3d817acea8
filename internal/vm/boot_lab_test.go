//go:build lab

package vm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }

var engineHere = labtest.Requirement{Name: "QEMU", Missing: func() string {
	if _, err := FindEngine(); err != nil {
		return err.Error()
	}
	return ""
}}

func kernelHere(version string) labtest.Requirement {
	return labtest.Requirement{Name: "a kernel " + version, Missing: func() string {
		if _, err := Find(version, nil); err != nil {
			return err.Error()
		}
		return ""
	}}
}

// guestProgram builds testdata/guest.
func guestProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guest")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v: %s", err, out)
	}
	return path
}

// A guest waits three hours in seconds, says which kernel it is, and how long it took, the same each time.
func TestBoot(t *testing.T) {
	labtest.Need(t, engineHere, labtest.IPTables, kernelHere("6.12"), kernelHere("6.1"))
	program := guestProgram(t)
	for _, version := range []string{"6.1", "6.12"} {
		k, err := Find(version, nil)
		if err != nil {
			t.Fatal(err)
		}
		var first time.Duration
		for range 2 {
			got := map[string]string{}
			s, err := Run(t.Context(), Options{Kernel: k, Program: program, Request: []byte("wait"), Wall: 2 * time.Minute}, func(m Message) error {
				got[m.Name] = string(m.Data)
				return nil
			})
			if err != nil {
				t.Fatalf("%s: %v", version, err)
			}
			if got["release"] != k.Release {
				t.Errorf("%s: got release %q, want %q", version, got["release"], k.Release)
			}
			took, err := strconv.ParseInt(got["took"], 10, 64)
			d := time.Duration(took)
			if err != nil || d < 3*time.Hour || d > 3*time.Hour+time.Second {
				t.Errorf("%s: three hours took %v (%v)", version, d, err)
			}
			if first == 0 {
				first = d
			} else if d != first {
				t.Errorf("%s: took %v, the first time %v: want the same to the nanosecond", version, d, first)
			}
			t.Logf("%s: up after %v, gone after %v, %d MB", version, s.Boot, s.Wall, s.Peak>>20)
		}
	}
}

// A guest that does not answer is an error that says why, and the machine is gone.
func TestEnds(t *testing.T) {
	labtest.Need(t, engineHere, labtest.IPTables, kernelHere("6.12"))
	program := guestProgram(t)
	k, err := Find("6.12", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		request string
		o       Options
		want    []string
	}{
		{"error", Options{}, []string{"in the guest: as asked"}},
		{"panic", Options{}, []string{"in the guest: panic: as asked"}},
		{"exit", Options{}, []string{"ended before it had answered", "Attempted to kill init"}},
		{"crash", Options{}, []string{"ended before it had answered", "Kernel panic"}},
		{"eat", Options{}, []string{"ended before it had answered", "deadlocked on memory"}},
		{"wait", Options{Virtual: time.Hour}, []string{"1h0m0s of virtual time are up"}},
		{"spin", Options{Wall: 7 * time.Second}, []string{"did not end within 7s"}}, // an idle machine has booted after 3 s
		{"spin", Options{Silence: 6 * time.Second}, []string{"said nothing for 6s after"}},
	} {
		t.Run(c.request, func(t *testing.T) {
			t.Parallel()
			c.o.Kernel, c.o.Program, c.o.Request = k, program, []byte(c.request)
			if c.o.Wall == 0 {
				c.o.Wall = 2 * time.Minute
			}
			_, err := Run(t.Context(), c.o, func(Message) error { return nil })
			var end *EndError
			if !errors.As(err, &end) {
				t.Fatalf("got %v, want an EndError", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("got %q, want %q in it", err, w)
				}
			}
		})
	}
}

// A cancelled context ends the machine, and a message that is refused does too.
func TestGivenUp(t *testing.T) {
	labtest.Need(t, engineHere, labtest.IPTables, kernelHere("6.12"))
	program := guestProgram(t)
	k, err := Find("6.12", nil)
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := time.AfterFunc(time.Second, func() { cancel(why) }) // before it has booted, or after: the same must come of it
	defer stop.Stop()
	if _, err := Run(ctx, Options{Kernel: k, Program: program, Request: []byte("spin")}, func(Message) error { return nil }); !errors.Is(err, why) {
		t.Errorf("cancelled: got %v, want %v", err, why)
	}
	if _, err := Run(t.Context(), Options{Kernel: k, Program: program, Request: []byte("now")}, func(Message) error { return why }); !errors.Is(err, why) {
		t.Errorf("refused: got %v, want %v", err, why)
	}
}

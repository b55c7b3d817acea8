//go:build lab

package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
)

// stateOf runs a guest that tells what differs between machines that are not the same to the instruction: random numbers and its clock.
func stateOf(t *testing.T, o Options) string {
	t.Helper()
	return answerOf(t, o, "state")
}

func answerOf(t *testing.T, o Options, request string) string {
	t.Helper()
	o.Request, o.Wall = []byte(request), 3*time.Minute
	got := ""
	if _, err := Run(t.Context(), o, func(m Message) error {
		got += string(m.Data)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// Guests that go on where another waits are the same, however often that one was booted and however busy this machine is, from the cache or
// without one; several go on at once; what is damaged in the cache is booted anew, and another program's is not taken.
func TestBooted(t *testing.T) {
	labtest.Need(t, engineHere, labtest.IPTables, kernelHere("6.12"), kernelHere("6.1"))
	program := guestProgram(t)
	for _, version := range []string{"6.1", "6.12"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			k, err := Find(version, nil)
			if err != nil {
				t.Fatal(err)
			}
			k.Dir = copied(t, k.Dir)
			kept := filepath.Join(k.Dir, fileBooted)
			o := Options{Kernel: k, Program: program}
			want := stateOf(t, o)
			first, err := os.Stat(kept)
			if err != nil {
				t.Fatalf("nothing was kept: %v", err)
			}
			if got := stateOf(t, o); got != want {
				t.Errorf("from the cache: got %q, want %q", got, want)
			}
			if again, err := os.Stat(kept); err != nil || !os.SameFile(first, again) {
				t.Errorf("it was booted again though it lay in the cache: %v", err)
			}
			damage(t, kept)
			if got := stateOf(t, o); got != want {
				t.Errorf("with a damaged one in the cache: got %q, want %q", got, want)
			}
			if again, err := os.Stat(kept); err != nil || os.SameFile(first, again) {
				t.Errorf("the damaged one is still there: %v", err)
			}
			if version == "6.12" {
				busy(t)
			}
			if err := os.Remove(kept); err != nil {
				t.Fatal(err)
			}
			b, err := Boot(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			o.Booted = b
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() {
					if got := stateOf(t, o); got != want {
						t.Errorf("booted again, one of two: got %q, want %q", got, want)
					}
				})
			}
			both.Wait()
		})
	}
}

// A guest that rests and is woken again and again tells the same clock each time, however busy this machine is. With an engine whose threads did not take
// turns some 40,000 naps beside busy loops came out otherwise in 11 of 24 (docs/adr/0039).
func TestNaps(t *testing.T) {
	labtest.Need(t, engineHere, labtest.IPTables, kernelHere("6.12"))
	k, err := Find("6.12", nil)
	if err != nil {
		t.Fatal(err)
	}
	k.Dir = copied(t, k.Dir)
	o := Options{Kernel: k, Program: guestProgram(t)}
	want := answerOf(t, o, "naps")
	busy(t)
	for range 3 {
		if got := answerOf(t, o, "naps"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// Another program is another guest, and so is all else that it is made of: what is in the cache is not taken for it.
func TestBootedOfAnother(t *testing.T) {
	labtest.Need(t, engineHere, labtest.IPTables, kernelHere("6.12"))
	k, err := Find("6.12", nil)
	if err != nil {
		t.Fatal(err)
	}
	k.Dir = copied(t, k.Dir)
	o, err := Options{Kernel: k, Program: guestProgram(t)}.complete()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(k.Dir, fileBooted)
	keys := map[string]string{}
	for _, c := range []struct {
		what   string
		change func()
	}{
		{"nothing", func() {}},
		{"program", func() { appendTo(t, o.Program, "x") }},
		{"IPv6", func() { o.IPv6 = true }},
		{"kernel", func() { appendTo(t, filepath.Join(k.Dir, fileKernel), "x") }},
		{"module", func() { appendTo(t, filepath.Join(k.Dir, dirModules, "veth.ko"), "x") }},
		{"memory", func() { o.Memory = 448 }},
	} {
		c.change()
		initrd, sum, err := o.initrd()
		if err != nil {
			t.Fatal(err)
		}
		initrd.Close()
		key, err := o.key(sum)
		if err != nil || keys[key] != "" {
			t.Errorf("%s changed: the key is %s, as with %s (%v)", c.what, key, keys[key], err)
		}
		keys[key] = c.what
		for of := range keys {
			keep(t, path, of, make([]byte, o.Memory<<20))
			b := o.fromCache(path, key)
			if got := b != nil; got != (of == key) {
				t.Errorf("%s changed: the one of %s is taken: %v", c.what, keys[of], got)
			}
			if b != nil {
				b.Close()
			}
		}
	}
}

// keep puts a guest of a key into the cache that would not go on.
func keep(t *testing.T, path, key string, memory []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := savedHead{Key: key, Mailbox: []uint64{1}, Memory: int64(len(memory)), Devices: 1}
	if err := writeSaved(f, h, strings.NewReader("x"), memory); err != nil {
		t.Fatal(err)
	}
}

// A cache that cannot be written to costs the boot and no more, and a guest that dies while it boots is the error that it was.
func TestBootedNowhere(t *testing.T) {
	labtest.Need(t, engineHere, labtest.IPTables, kernelHere("6.12"))
	b := &Booted{}
	var err error
	if b.file, err = unnamed("test"); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.keep(filepath.Join(t.TempDir(), "gone", fileBooted)); err == nil {
		t.Error("kept in a folder that is not there")
	}
	k, err := Find("6.12", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	stop := time.AfterFunc(500*time.Millisecond, func() { cancel(why) })
	defer stop.Stop()
	o := Options{Kernel: k, Program: guestProgram(t)}
	o.Kernel.Dir = copied(t, k.Dir)
	if _, err := Boot(ctx, o); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
	if found, _ := filepath.Glob(filepath.Join(o.Kernel.Dir, fileBooted+"*")); len(found) > 0 {
		t.Errorf("half a guest is left: %v", found)
	}
}

// copied is a folder with the same kernel, whose cache is the test's own.
func copied(t *testing.T, dir string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "kernel")
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fileBooted, fileBooted + "-ipv6"} {
		if err := os.Remove(filepath.Join(out, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return out
}

// damage turns a bit of a file round, in the middle.
func damage(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// busy keeps every processor busy until the test has ended.
func busy(t *testing.T) {
	t.Helper()
	var over sync.WaitGroup
	var stop atomic.Bool
	for range 3 {
		over.Go(func() {
			for !stop.Load() {
			}
		})
	}
	t.Cleanup(func() {
		stop.Store(true)
		over.Wait()
	})
}

//go:build lab

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
)

func init() { PinMain() }

func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }

// open makes a namespace that ends with the test.
func open(t testing.TB) *Namespace {
	t.Helper()
	labtest.Need(t, labtest.Root)
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return n
}

// link reads a symbolic link, on the namespace's thread where there is one.
func link(t testing.TB, n *Namespace, path string) (target string) {
	t.Helper()
	read := func() (err error) {
		target, err = os.Readlink(path)
		return err
	}
	err := error(nil)
	if n != nil {
		err = n.Do(read)
	} else {
		err = read()
	}
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// TestDo catches a Do that runs on a thread of the host's namespace, and a New that moves the main thread, whose namespace
// /proc/self names.
func TestDo(t *testing.T) {
	before := link(t, nil, "/proc/self/ns/net")
	n := open(t)
	inside := link(t, n, "/proc/thread-self/ns/net")
	inode, err := n.Inode()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("net:[%d]", inode); inside != want || inside == before {
		t.Errorf("inside: got %s, want %s and not the host's %s", inside, want, before)
	}
	if got := link(t, nil, n.Path()); got != inside {
		t.Errorf("%s: got %s, want %s", n.Path(), got, inside)
	}
	if got := link(t, nil, "/proc/self/ns/net"); got != before {
		t.Errorf("main thread: got %s, want %s as before", got, before)
	}
	if got := link(t, n, "/proc/self/ns/net"); got != before {
		t.Errorf("main thread, seen from inside: got %s, want %s", got, before)
	}
	var links []net.Interface
	if err := n.Do(func() (err error) { links, err = net.Interfaces(); return err }); err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0].Name != "lo" || links[0].Flags&net.FlagUp != 0 {
		t.Errorf("links of a new namespace: got %v, want lo alone, down", links)
	}
	broken := errors.New("broken")
	if err := n.Do(func() error { return broken }); err != broken {
		t.Errorf("error of fn: got %v, want the same error", err)
	}
}

// TestRunIsPrivate catches a program inside that can touch the host's /run (iptables-legacy locks /run/xtables.lock).
func TestRunIsPrivate(t *testing.T) {
	n := open(t)
	name := fmt.Sprintf("/run/tcplab-netns-test-%d", os.Getpid())
	err := n.Do(func() error {
		entries, err := os.ReadDir("/run")
		if err == nil && (len(entries) != 1 || "/run/"+entries[0].Name() != Sysfs) {
			err = fmt.Errorf("/run holds %v, want Sysfs alone", entries)
		}
		return errors.Join(err, os.WriteFile(name, []byte("x"), 0o600))
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s on the host: got %v, want that it does not exist", name, err)
		os.Remove(name)
	}
	if err := n.Do(func() error { _, err := os.Stat(name); return err }); err != nil {
		t.Errorf("the file inside, a call later: %v", err)
	}
}

// TestPanic catches a panic inside Do that ends the program or the thread: the caller gets its text and stack, and goes on.
func TestPanic(t *testing.T) {
	n := open(t)
	err := n.Do(func() error { panic("boom") })
	if err == nil || !strings.Contains(err.Error(), "boom") || !strings.Contains(err.Error(), "netns_lab_test.go") {
		t.Errorf("got %v, want an error with boom and the stack of this file", err)
	}
	ran := false
	if err := n.Do(func() error { ran = true; return nil }); err != nil || !ran {
		t.Errorf("the next call: got ran=%v, %v, want that it runs", ran, err)
	}
}

// TestGoexit catches a test that fails inside Do (t.FailNow ends the goroutine) and leaves everybody waiting for ever.
func TestGoexit(t *testing.T) {
	n := open(t)
	for range 2 {
		if err := n.Do(func() error { runtime.Goexit(); return nil }); !errors.Is(err, errGone) {
			t.Errorf("got %v, want %v", err, errGone)
		}
	}
}

// TestClose catches a use after Close that hangs or runs on the host, and a second Close that closes somebody else's descriptor.
func TestClose(t *testing.T) {
	n := open(t)
	for range 2 {
		if err := n.Close(); err != nil {
			t.Errorf("got %v, want no error", err)
		}
	}
	if err := n.Do(func() error { t.Error("fn ran after Close"); return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close: got %v, want %v", err, ErrClosed)
	}
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for { // the goroutine has ended; its thread follows
		if _, err := os.Stat(n.Path()); errors.Is(err, fs.ErrNotExist) {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the thread 10 s after Close: got %v, want that it is gone", err)
		}
		<-tick.C
	}
}

// TestCloseKills catches processes that outlive their namespace.
func TestCloseKills(t *testing.T) {
	n := open(t)
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if got, want := link(t, nil, fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)), link(t, nil, n.Path()); got != want {
		t.Errorf("namespace of the process: got %s, want %s", got, want)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill(); t.Error("the process was alive 10 s after Close") })
	defer guard.Stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("got %v, want killed", err)
	}
}

// TestSocketOutside catches a socket that loses its namespace outside Do: opened inside, it must serve from any goroutine.
func TestSocketOutside(t *testing.T) {
	n := open(t)
	up := exec.Command("ip", "link", "set", "lo", "up")
	if err := n.Do(up.Run); err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	if err := n.Do(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		c.Close()
		t.Error("dial from the host: got a connection, want none: the listener is in the namespace")
	}
	var c net.Conn
	if err := n.Do(func() (err error) { c, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second); return err }); err != nil {
		t.Fatalf("dial from inside: %v", err)
	}
	defer c.Close()
	s, err := l.Accept() // outside Do
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if got, err := s.Read(buf); err != nil || string(buf[:got]) != "x" {
		t.Errorf("got %q, %v, want x", buf[:got], err)
	}
}

// TestFd catches a descriptor that is another namespace's, or that goes away while the Namespace lives.
func TestFd(t *testing.T) {
	n := open(t)
	want := link(t, n, "/proc/thread-self/ns/net")
	for range 3 {
		runtime.GC() // a finaliser would close it
		if got := link(t, nil, fmt.Sprintf("/proc/self/fd/%d", n.Fd())); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestParallel catches what is shared between namespaces by mistake, and threads that stay behind. Descriptors and namespaces are
// counted by TestMain.
func TestParallel(t *testing.T) {
	labtest.Need(t, labtest.Root)
	host := link(t, nil, "/proc/self/ns/net")
	const many = 50
	var wg sync.WaitGroup
	inodes := make([]uint64, many)
	for i := range many {
		wg.Go(func() {
			n, err := New()
			if err != nil {
				t.Error(err)
				return
			}
			inodes[i], err = n.Inode()
			if err := errors.Join(err, n.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var away []string
		tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if ns, err := os.Readlink(task); err == nil && ns != host {
				away = append(away, task+" "+ns)
			}
		}
		if len(away) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("threads in other namespaces after 10 s: got %q, want none", away)
		}
		<-tick.C
	}
}

// TestRace lets Do and Close meet. Under the race detector it catches unguarded state; without, a call that hangs or runs after Close.
func TestRace(t *testing.T) {
	n := open(t)
	host := link(t, nil, "/proc/self/ns/net")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				err := n.Do(func() error {
					if ns, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || ns == host {
						return fmt.Errorf("ran in %s, %w", ns, err)
					}
					return nil
				})
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

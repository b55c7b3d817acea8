//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
	"github.com/tcplab/tcplab/sysctl"
)

func init() { netns.PinMain() }

const unprivilegedEnv = "TCPLAB_LAB_UNPRIVILEGED"

func TestMain(m *testing.M) {
	if os.Getenv(unprivilegedEnv) != "" {
		os.Exit(unprivileged())
	}
	os.Exit(labtest.Leaks(m))
}

// unprivileged is the test binary started as nobody: it tries to build a lab and says how that failed.
func unprivileged() int {
	l, err := New(context.Background(), Topology{})
	if err == nil {
		fmt.Println("got a lab, want an error", l.Close())
		return 1
	}
	fmt.Println(errors.Is(err, ErrPrivilege), errors.Is(err, fs.ErrPermission), err)
	return 0
}

// build makes a lab that ends with the test.
func build(t testing.TB, top Topology) *Lab {
	t.Helper()
	labtest.Need(t, labtest.Root)
	l, err := New(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// run runs a program on a host and returns what it printed.
func run(t testing.TB, h *Host, name string, args ...string) string {
	t.Helper()
	out, err := h.Exec(t.Context(), name, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// eventually looks again and again until ok, and reports false after ten seconds.
func eventually(ok func() bool) bool {
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// sendSYNs opens and closes n sockets from h to a port of its peer: one SYN each, as none lives long enough to repeat it.
func sendSYNs(t testing.TB, h, peer *Host, port uint16, n int) {
	t.Helper()
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(port)})
	if peer.Addr.Is4() {
		sa.(*unix.SockaddrInet4).Addr = peer.Addr.As4()
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(port), Addr: peer.Addr.As16()}
	}
	err := h.Do(func() error {
		for range n {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			err = unix.Connect(fd, sa)
			if cerr := unix.Close(fd); err != unix.EINPROGRESS || cerr != nil {
				return fmt.Errorf("connect: %w, close: %w, want EINPROGRESS", err, cerr)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// counts waits until a filter has counted n packets, and checks that there are no more.
func counts(t testing.TB, f *Filter, n uint64) {
	t.Helper()
	var packets, bytes uint64
	var err error
	eventually(func() bool {
		packets, bytes, err = f.Count(t.Context())
		return err != nil || packets >= n
	})
	if err != nil || packets != n {
		t.Errorf("%s %s: got %d packets, %v, want %d", f.Chain, f.Text, packets, err, n)
	}
	if n > 0 && (bytes < 40*n || bytes > 80*n) {
		t.Errorf("%s %s: got %d bytes, want 40 to 80 for each SYN", f.Chain, f.Text, bytes)
	}
}

// hostState is what a lab must not change on the machine.
func hostState(t testing.TB) map[string]string {
	t.Helper()
	state, err := sysctl.FS{}.Snapshot("net")
	if err != nil {
		t.Fatal(err)
	}
	for name := range state { // counters, and what comes with a module that another program wants; not settings of a lab
		if strings.Contains(name, ".nf_conntrack_") {
			delete(state, name)
		}
	}
	state["/run"] = runFiles(t)
	for _, command := range [][]string{{"ip", "-o", "link"}, {"ip", "-o", "address"}, {"ip", "neighbour", "show", "nud", "permanent"}, {"ip", "netns"}, {"ip", "route"}, {"nft", "list", "ruleset"}} {
		labtest.Need(t, labtest.Command(command[0]))
		// How long an address of DHCP is still valid is another number each second.
		state[strings.Join(command, " ")] = regexp.MustCompile(`_lft \d+sec`).ReplaceAllString(hostOutput(t, command), "_lft some")
	}
	return state
}

// runFiles are the files of /run that a lab, ip or iptables would make. The machine's services make others, at any time.
func runFiles(t testing.TB) string {
	t.Helper()
	entries, err := os.ReadDir("/run")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); strings.Contains(name, "tcplab") || strings.Contains(name, "xtables") || name == "netns" {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

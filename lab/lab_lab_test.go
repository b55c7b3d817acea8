//go:build lab

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/sysctl"
)

func hostOutput(t testing.TB, command []string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", command, err, out)
	}
	return string(out)
}

// TestNew reads with other programs what New built. It catches a link that is down, a neighbour that can expire, an offload that is on
// and an address that is not the one asked for.
func TestNew(t *testing.T) {
	labtest.Need(t, labtest.Command("ip"), labtest.Command("ethtool"))
	l := build(t, Topology{Client: netip.MustParsePrefix("10.1.2.3/29"), Server: netip.MustParsePrefix("10.1.2.4/29")})
	for _, h := range l.hosts() {
		peer := l.Client
		if h == l.Client {
			peer = l.Server
		}
		links := run(t, h, "ip", "-o", "link")
		if strings.Count(links, "\n") != 2 || !strings.Contains(links, "link/ether "+h.MAC.String()) ||
			!strings.Contains(links, "lo: <LOOPBACK,UP,LOWER_UP>") || !strings.Contains(links, "eth0@") || !strings.Contains(links, "<BROADCAST,MULTICAST,UP,LOWER_UP>") || !strings.Contains(links, "state UP") {
			t.Errorf("%s: got links\n%swant lo and eth0 with %s, both up", h.Name, links, h.MAC)
		}
		if got, want := run(t, h, "ip", "-o", "-4", "address", "show", "dev", "eth0"), "inet "+h.Addr.String()+"/29 "; !strings.Contains(got, want) {
			t.Errorf("%s: got address %q, want %q", h.Name, got, want)
		}
		if got, want := run(t, h, "ip", "neighbour"), fmt.Sprintf("%s dev eth0 lladdr %s PERMANENT", peer.Addr, peer.MAC); strings.TrimSpace(got) != want {
			t.Errorf("%s: got neighbours %q, want %q", h.Name, got, want)
		}
		features := run(t, h, "ethtool", "-k", "eth0")
		for _, name := range []string{"tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload", "tx-checksum-ip-generic"} {
			if !strings.Contains(features, name+": off") {
				t.Errorf("%s: got %s on, want off:\n%s", h.Name, name, features)
			}
		}
		if got := h.Changes(); len(got) != 0 {
			t.Errorf("%s: got %d settings without a baseline, want none", h.Name, len(got))
		}
	}
}

// TestBaseline catches a baseline that is not applied, or applied and not recorded: each setting is read back from the namespace.
func TestBaseline(t *testing.T) {
	l := build(t, Topology{Baseline: sysctl.Baseline})
	for _, h := range l.hosts() {
		changes := map[string]Change{}
		for _, c := range h.Changes() {
			if _, twice := changes[c.Name]; twice {
				t.Errorf("%s: %s is recorded twice", h.Name, c.Name)
			}
			changes[c.Name] = c
		}
		for _, want := range sysctl.Baseline(h.Has) {
			got, err := h.Get(want.Name)
			if err != nil || got != want.Value {
				t.Errorf("%s: %s: got %q, %v, want %q", h.Name, want.Name, got, err, want.Value)
			}
			if c := changes[want.Name]; c.Now != want.Value || c.Why != want.Why || c.Was == "" && want.Value != "" {
				t.Errorf("%s: %s: recorded %+v, want now %q because %q", h.Name, want.Name, c, want.Value, want.Why)
			}
			delete(changes, want.Name)
		}
		if len(changes) > 0 {
			t.Errorf("%s: got %v recorded beside the baseline, want nothing", h.Name, changes)
		}
	}
}

// TestSet catches a value that the kernel refuses or ignores and that is taken as set, and one host's setting that reaches the other.
func TestSet(t *testing.T) {
	l := build(t, Topology{})
	const knob = "net.ipv4.tcp_syn_retries"
	was, err := l.Server.Get(knob)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"3", "2", "2"} {
		c, err := l.Client.Set(knob, value, "a test")
		if err != nil || c.Now != value {
			t.Errorf("set %s: got %+v, %v, want it to be so", value, c, err)
		}
	}
	if got := run(t, l.Client, "cat", "/proc/sys/net/ipv4/tcp_syn_retries"); got != "2\n" {
		t.Errorf("read by cat: got %q, want 2", got)
	}
	if got, err := l.Server.Get(knob); err != nil || got != was {
		t.Errorf("server: got %s, %v, want %s as before", got, err, was)
	}
	want := []Change{{Name: knob, Was: was, Now: "2", Why: "a test"}}
	if diff := cmp.Diff(want, l.Client.Changes()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		name, value string
		want        error
	}{
		{knob, "0", syscall.EINVAL}, {knob, "abc", syscall.EINVAL}, {knob, "128", syscall.EINVAL},
		{"net.ipv4.tcp_no_such_knob", "1", fs.ErrNotExist},
	} {
		if _, err := l.Client.Set(tt.name, tt.value, ""); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.name) {
			t.Errorf("set %s=%s: got %v, want %v that names the knob", tt.name, tt.value, err, tt.want)
		}
	}
	if diff := cmp.Diff(want, l.Client.Changes()); diff != "" {
		t.Errorf("changes after refused values (-want +got):\n%s", diff)
	}
	if l.Client.Has("net.ipv4.tcp_no_such_knob") || !l.Client.Has(knob) {
		t.Error("Has: got the wrong answer for a knob that is there or one that is not")
	}
}

// TestUnprivileged catches a missing privilege that is reported as something else, or not at all.
func TestUnprivileged(t *testing.T) {
	labtest.Need(t, labtest.Root)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{unprivilegedEnv + "=1"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "true true ") || !strings.Contains(string(out), "sudo") {
		t.Errorf("got %q, %v, want ErrPrivilege, an fs.ErrPermission, with its cure", out, err)
	}
}

// TestNewFails catches a half-built lab that stays: New fails at each of its stages, and TestMain counts what is left.
func TestNewFails(t *testing.T) {
	labtest.Need(t, labtest.Root)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	during, stop := context.WithCancel(t.Context())
	defer stop()
	refused := func(func(string) bool) []sysctl.Setting {
		return []sysctl.Setting{{Name: "net.ipv4.tcp_syn_retries", Value: "0", Why: "the kernel refuses it"}}
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		top  Topology
		want string
	}{
		{"cancelled before", cancelled, Topology{}, "context canceled"},
		{"cancelled during", during, Topology{Baseline: func(func(string) bool) []sysctl.Setting { stop(); return nil }}, "context canceled"},
		{"refused baseline", t.Context(), Topology{Baseline: refused}, "server: set net.ipv4.tcp_syn_retries=0"},
		{"impossible address: the baseline switches IPv6 off", t.Context(), Topology{Baseline: sysctl.Baseline, Client: ClientAddr6, Server: ServerAddr6}, "server: add address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := New(tt.ctx, tt.top)
			if l != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want no lab and an error with %q", l, err, tt.want)
				if l != nil {
					l.Close()
				}
			}
		})
	}
}

// TestClose catches a Close that fails, hangs or does harm when it is called again, or by two at once, with everything running.
func TestClose(t *testing.T) {
	l := build(t, Topology{})
	if _, err := l.Server.Listen(t.Context(), ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Client.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := l.Close(); err != nil {
				t.Errorf("got %v, want no error", err)
			}
		})
	}
	wg.Wait()
	if _, err := l.Client.Start(t.Context()); err == nil {
		t.Error("start a client in a closed lab: got none, want an error")
	}
}

// TestExec catches a program that runs elsewhere, an exit code that is lost, and a shell's own children that outlive a cancelled context
// or the lab and keep Exec waiting.
func TestExec(t *testing.T) {
	l := build(t, Topology{})
	if got, want := strings.TrimSpace(run(t, l.Client, "readlink", "/proc/self/ns/net")), "net:["; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want a namespace", got)
	} else if host, err := os.Readlink("/proc/self/ns/net"); err != nil || got == host {
		t.Errorf("got the host's namespace %s, %v, want another", host, err)
	}
	out, err := l.Client.Exec(t.Context(), "sh", "-c", "echo said; exit 7")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 || string(out) != "said\n" || !strings.HasPrefix(err.Error(), "client: sh: ") {
		t.Errorf("got %q, %v, want said, exit status 7", out, err)
	}
	if _, err := l.Client.Exec(t.Context(), "no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v, want %v", err, exec.ErrNotFound)
	}
	for _, how := range []string{"context", "lab"} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		marker := t.TempDir() + "/started"
		done := make(chan error, 1)
		go func() {
			_, err := l.Client.Exec(ctx, "sh", "-c", "sleep 300 & touch "+marker+"; wait")
			done <- err
		}()
		if !eventually(func() bool { _, err := os.Stat(marker); return err == nil }) {
			t.Fatal("the shell did not start")
		}
		if how == "context" {
			cancel()
		} else if err := l.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("ended by the %s: got no error, want one", how)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("ended by the %s: Exec was still waiting after 10 s", how)
		}
	}
}

// TestMany catches labs that share something: twenty at once, each with its own settings, rule and connection.
func TestMany(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := oneOfMany(t.Context(), i); err != nil {
				t.Errorf("lab %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func oneOfMany(ctx context.Context, i int) (err error) {
	l, err := New(ctx, Topology{Baseline: sysctl.Baseline})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	value := fmt.Sprint(i + 1)
	if _, err := l.Client.Set("net.ipv4.tcp_syn_retries", value, "a test"); err != nil {
		return err
	}
	f, err := l.Server.Drop(ctx, DropSYN(9))
	if err != nil {
		return err
	}
	if _, err := l.Server.Listen(ctx, ListenOptions{}); err != nil {
		return err
	}
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	if err := c.Connect(ctx, l.Server.Port(8080), DialOptions{}); err != nil {
		return err
	}
	if e, err := c.Get(ctx, "/"+value, 0); err != nil || e.Status != 200 || e.Bytes != len("tcplab: you asked for /\n")+len(value) {
		return fmt.Errorf("get: got %+v, %w", e, err)
	}
	packets, _, err := f.Count(ctx)
	if got, gerr := l.Client.Get("net.ipv4.tcp_syn_retries"); err != nil || gerr != nil || packets != 0 || got != value {
		return fmt.Errorf("got %d drops of another lab's, tcp_syn_retries %s, %w, %w, want none, %s", packets, got, err, gerr, value)
	}
	return nil
}

// TestHostUntouched catches anything that a lab changes on the machine itself: links, addresses, rules, settings, files of /run.
func TestHostUntouched(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	before := hostState(t)
	for i := range 2 {
		if err := oneOfMany(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, hostState(t)); diff != "" {
		t.Errorf("the machine (-before +after):\n%s", diff)
	}
}

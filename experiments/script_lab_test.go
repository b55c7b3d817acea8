//go:build lab

package experiments

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/netns"
)

func init() { netns.PinMain() }

func TestMain(m *testing.M) { os.Exit(labtest.Leaks(m)) }

// TestScriptWorks catches a command that does not work, and one that does something else than tcplab.
func TestScriptWorks(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("bash"), labtest.Command("ip"), labtest.Command("ethtool"),
		labtest.Command("tcpdump"), labtest.Command("curl"), labtest.Command("python3"))
	out, took := typed(t, "exp1-syn-loss", "curl ", nil)
	if took < 3*time.Second {
		t.Errorf("got the end after %v, want 3 s or more: 1 s and 2 s of waiting", took)
	}
	if !regexp.MustCompile(`(?m)^\s*2\s+\d+ DROP\b.*dpt:8080`).MatchString(out) {
		t.Errorf("got\n%s\nwant a rule that dropped 2 packets: a SYN and its repetition", out)
	}
}

// TestKeepaliveScriptWorks is the same for exp4: read() fails by itself, and the server does not know.
func TestKeepaliveScriptWorks(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("bash"), labtest.Command("ip"), labtest.Command("ethtool"),
		labtest.Command("tcpdump"), labtest.Command("ss"), labtest.Command("python3"))
	out, took := typed(t, "exp4-keepalive", "wait %4", map[string]string{"keepcnt": "1"})
	if took < 2*time.Second {
		t.Errorf("got the end after %v, want 2 s or more: an idle time and an interval of 1 s", took)
	}
	for _, want := range []string{"TimeoutError", "ESTAB.*10.99.0.2:8080 *10.99.0.1:"} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("got\n%s\nwant %q in it", out, want)
		}
	}
}

// TestTimeoutsScriptWorks is the same for exp11, over IPv6: who is told says so, not before its time, and who is not is still there.
func TestTimeoutsScriptWorks(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("bash"), labtest.Command("ip"), labtest.Command("ethtool"),
		labtest.Command("tcpdump"), labtest.Command("ss"), labtest.Command("python3"))
	t.Parallel()
	out, _ := typed(t, "exp11-timeouts", "nothing fails", map[string]string{"ipv6": "yes", "cases": "4,6,11,12", "user-timeout": "1000"})
	for _, want := range []string{`port 8106 is told after ([3-9]|\d\d)\.\d s: Connection timed out`,
		`port 8112 is told after ([1-9]|\d\d)\.\d s: Connection timed out`, `ESTAB.*:8104\b`, `ESTAB.*:8111\b.*persist`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("got\n%s\nwant %q in it", out, want)
		}
	}
	if strings.Contains(out, "port 8104 is told") || strings.Contains(out, "port 8111 is told") {
		t.Errorf("got\n%s\nwant nobody told of an idle connection, nor of one with a closed window", out)
	}
}

// typed types the script of an experiment's fast profile into a shell, in a mount and network namespace of its own: its named namespaces
// are not the machine's. The line that begins with, or contains, fails must end with an error, and all others without.
func typed(t *testing.T, name, fails string, flags map[string]string) (output string, took time.Duration) {
	t.Helper()
	x := find(t, name)
	p, err := x.Plan(Fast, flags, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var script strings.Builder
	for _, line := range x.Script(p) {
		if line == "sleep 1 # until both captures listen" { // a person types slower than the captures start
			line = "until [ -e client.pcap ] && [ -e server.pcap ]; do read -rt 0.05 <> <(:) || :; done"
		}
		if strings.Contains(line, fails) {
			script.WriteString("! ")
		}
		script.WriteString(line + "\n")
	}
	cmd := exec.Command("bash", "-e", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // fails where all have ended, as they should
	guard := time.AfterFunc(2*time.Minute, end)
	defer guard.Stop()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := n.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	end()
	if err != nil {
		t.Errorf("bash: %v\n%s", err, out.String())
	}
	return out.String(), time.Since(began)
}

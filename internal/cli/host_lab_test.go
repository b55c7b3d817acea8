//go:build lab

package cli

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
)

// restless are files below /proc/sys that move by themselves.
var restless = []string{"fs/dentry-state", "fs/file-nr", "fs/inode-nr", "fs/inode-state", "fs/aio-nr", "kernel/ns_last_pid", "kernel/pty/nr",
	"kernel/random/entropy_avail", "kernel/random/uuid", "net/netfilter/nf_conntrack_count",
	"kernel/perf_event_max_sample_rate"} // which the kernel lowers itself where its interrupts take long (perf_sample_event_took)

// lifetimes are what is left of the life of an address or a route that DHCP or a router gave: it falls by itself.
var lifetimes = regexp.MustCompile(`(valid_lft|preferred_lft|expires) \d+sec`)

// counters are those of a rule in nft's words.
var counters = regexp.MustCompile(`packets \d+ bytes \d+`)

// knobs reads every setting below /proc/sys, those of the net of the namespace that the calling thread is in. What may not be read has its error.
func knobs() (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir("/proc/sys", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains(restless, strings.TrimPrefix(path, "/proc/sys/")) {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode()&0o444 == 0 { // to be written only
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			b = []byte(err.Error())
		}
		all[path] = string(b)
		return nil
	})
	return all, err
}

// TestHostUntouched makes the whole catalogue and catches a run that changes the machine: a setting, a link, an address, a rule, a mount, a file
// in /run or in the folder for temporary files.
func TestHostUntouched(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("ip"), labtest.Command("iptables-save"))
	look := func() (map[string]string, machine) {
		t.Helper()
		all, err := knobs()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range [][]string{{"ip", "-o", "address"}, {"ip", "route", "show", "table", "all"}, {"ip", "neighbour"}, {"ip", "netns"}, {"iptables-save"}} {
			out, errs, code := runCommand(t, exec.Command(c[0], c[1:]...))
			if code != 0 {
				t.Fatalf("%v: got exit code %d, want 0: %s", c, code, errs)
			}
			all[strings.Join(c, " ")] = comments(out)
		}
		return all, lookAtMachine(t)
	}
	tmp := t.TempDir()
	settings, things := look()
	cmd := in(openFolder(t), "run", "all", "--profile=fast")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	if _, stderr, code := runCommand(t, cmd); code != 0 && code != explain.ExitInconclusive { // what it comes to is not the question here
		t.Errorf("exit code: got %d, want 0\n%s", code, stderr)
	}
	settings2, things2 := look()
	delete(settings, "ip neighbour") // the machine's own traffic ages these
	delete(settings2, "ip neighbour")
	if diff := cmp.Diff(settings, settings2); diff != "" {
		t.Errorf("the machine's settings (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(things, things2); diff != "" {
		t.Errorf("the machine's links, mounts and /run (-before +after):\n%s", diff)
	}
	wantFiles(t, tmp)
}

// comments drops what moves by itself: the lines of iptables-save that hold the time, the counters of chains, and lifetimes.
func comments(s string) string {
	var kept strings.Builder
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		head, _, _ := strings.Cut(line, " [")
		kept.WriteString(strings.TrimSpace(counters.ReplaceAllString(lifetimes.ReplaceAllString(head, "$1"), "")) + "\n")
	}
	return kept.String()
}

// TestKnobsSee is the negative control of TestHostUntouched: in a lab's namespace the same look sees one setting that was changed.
func TestKnobsSee(t *testing.T) {
	labtest.Need(t, labtest.Root)
	l, err := lab.New(context.Background(), lab.Topology{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	look := func() (all map[string]string) {
		t.Helper()
		if err := l.Client.Do(func() (err error) { all, err = knobs(); return err }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := look()
	if _, err := l.Client.Set("net.ipv4.tcp_sack", "0", "test"); err != nil {
		t.Fatal(err)
	}
	after := look()
	const path = "/proc/sys/net/ipv4/tcp_sack"
	if before[path] != "1\n" || after[path] != "0\n" {
		t.Errorf("tcp_sack: got %q, then %q, want 1, then 0", before[path], after[path])
	}
	maps.DeleteFunc(after, func(k, v string) bool { return before[k] == v })
	if len(after) != 1 {
		t.Errorf("settings that changed: got %v, want tcp_sack alone", after)
	}
}

// TestHandOver catches a file that a student cannot delete after sudo: everything that a run makes belongs to the user who called sudo,
// the folders on the way to it and the link included.
func TestHandOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, out, top string }{{"default folder", "tcplab-runs", "tcplab-runs"}, {"nested folder", "a/b/runs", "a"}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, _, stderr, code := settled(t, func(dir string) *exec.Cmd {
				cmd := in(dir, "run", "exp1", "--profile=fast", "--out="+tt.out, "--events="+filepath.Join(dir, "events"))
				cmd.Env = append(os.Environ(), "SUDO_UID=65534", "SUDO_GID=65533")
				return cmd
			})
			if code != 0 {
				t.Fatalf("exit code: got %d, want 0\n%s", code, stderr)
			}
			seen := 0
			for _, root := range []string{tt.top, "events"} {
				err := filepath.WalkDir(filepath.Join(dir, root), func(path string, d fs.DirEntry, err error) error {
					if err != nil {
						return err
					}
					info, err := d.Info() // of the link itself
					if err != nil {
						return err
					}
					seen++
					if st := info.Sys().(*syscall.Stat_t); st.Uid != 65534 || st.Gid != 65533 {
						t.Errorf("%s: got owner %d:%d, want 65534:65533", path, st.Uid, st.Gid)
					}
					if m := info.Mode(); m&fs.ModeSymlink == 0 && m&(0o022|fs.ModeSetuid|fs.ModeSetgid) != 0 {
						t.Errorf("%s: got mode %v, want nobody else to write it, and no right to give", path, m)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if seen < 10 { // out, latest, folder, six files, events
				t.Errorf("files: got %d, want 10 or more", seen)
			}
		})
	}
}

// TestTwoUsers catches two users in each other's way: at the same moment one runs with sudo and the other without, both pass, and each has
// files of its own.
func TestTwoUsers(t *testing.T) {
	run := func(t *testing.T, owner uint32, make func(dir string) *exec.Cmd) {
		dir := openFolder(t)
		if stdout, stderr, code := runCommand(t, make(dir)); code != explain.ExitPass && code != explain.ExitInconclusive { // two at once disturb each other
			t.Errorf("exit code: got %d, want 0 or %d\n%s%s", code, explain.ExitInconclusive, stdout, stderr)
		}
		wantOwner(t, filepath.Join(dir, "tcplab-runs"), owner)
	}
	t.Run("sudo", func(t *testing.T) {
		t.Parallel()
		run(t, 64321, func(dir string) *exec.Cmd {
			cmd := in(dir, "run", "exp1", "exp2-capture", "--profile=fast")
			cmd.Env = append(os.Environ(), "SUDO_UID=64321", "SUDO_GID=64321")
			return cmd
		})
	})
	t.Run("rootless", func(t *testing.T) {
		t.Parallel()
		run(t, nobody, func(dir string) *exec.Cmd { return rootless(t, dir, "run", "exp1", "exp2-capture", "--profile=fast") })
	})
}

// TestHandOverSparesOthers catches a folder that was there before being taken from its owner.
func TestHandOverSparesOthers(t *testing.T) {
	t.Parallel()
	dir, _, stderr, code := settled(t, func(dir string) *exec.Cmd {
		if err := os.Mkdir(filepath.Join(dir, "tcplab-runs"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := in(dir, "run", "exp1", "--profile=fast")
		cmd.Env = append(os.Environ(), "SUDO_UID=65534", "SUDO_GID=65533")
		return cmd
	})
	if code != 0 {
		t.Fatalf("exit code: got %d, want 0\n%s", code, stderr)
	}
	st, err := os.Stat(filepath.Join(dir, "tcplab-runs"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := st.Sys().(*syscall.Stat_t).Uid; uid != 0 {
		t.Errorf("tcplab-runs, which was there before: got owner %d, want 0", uid)
	}
}

// TestFullDisk catches half a result under the name of a whole one, and a full disk that is called anything else. The disk is a tmpfs in
// a mount namespace of its own; its sizes end the writing at different files.
func TestFullDisk(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("unshare"))
	t.Parallel()
	for _, size := range []string{"4k", "24k", "56k", "120k"} {
		t.Run(size, func(t *testing.T) {
			t.Parallel()
			dir := openFolder(t)
			cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=`+size+` tmpfs "$0" || exit 99
				tcplab run exp1 --profile=fast --out="$0"/runs >"$0".out; code=$?
				find "$0" -name result.json >"$0".found
				exit $code`, filepath.Join(dir, "disk"))
			if err := os.Mkdir(filepath.Join(dir, "disk"), 0o755); err != nil {
				t.Fatal(err)
			}
			_, stderr, code := runCommand(t, cmd)
			if code != explain.ExitInternal {
				t.Errorf("exit code: got %d, want %d", code, explain.ExitInternal)
			}
			wantParts(t, "stderr", stderr, "no space left on device", "make room", explain.DiskFull)
			if found := readFile(t, dir, "disk.found"); len(found) > 0 {
				t.Errorf("result.json: got %s, want none", found)
			}
		})
	}
}

// TestTimeout catches a run that is given up and still judged: exit code 5, with everything that was seen until then. It is given up in the middle
// between its last packet and its end, a second from each.
func TestTimeout(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	dir := openFolder(t)
	stdout, stderr, code := runCommand(t, in(dir, "run", "exp1", "--profile=fast", "--timeout=2s"))
	if code != explain.ExitInconclusive {
		t.Errorf("exit code: got %d, want %d\n%s", code, explain.ExitInconclusive, stderr)
	}
	wantParts(t, "stdout", stdout, "INCONCLUSIVE exp1-syn-loss")
	r := readResult(t, readFile(t, dir, "tcplab-runs", "latest", "result.json"))
	for _, c := range r.Checks {
		if c.ID == "errno" && (c.Verdict != result.Inconclusive || c.Code != explain.CutShort) {
			t.Errorf("connect(), which was not waited for: got %s (%s), want inconclusive (%s)", c.Verdict, c.Code, explain.CutShort)
		}
	}
	if r.Verdict != result.Inconclusive || len(r.Packets) != 2 {
		t.Errorf("result: got %s with %d packets, want inconclusive with 2", r.Verdict, len(r.Packets))
	}
}

// TestRefusedLate catches a knob that only a lab can judge: the folder made for the run must go again, and the exit code say whose
// mistake it was.
func TestRefusedLate(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	dir := openFolder(t)
	stdout, stderr, code := runCommand(t, in(dir, "run", "exp1", "--profile=fast", "--set=client.net.ipv4.tcp_congestion_control=nosuch", "--out=a/b"))
	if code != explain.ExitUsage || stdout != "" {
		t.Errorf("got exit code %d and %q on stdout, want 2 and nothing", code, stdout)
	}
	wantParts(t, "stderr", stderr, "tcp_congestion_control", "nosuch")
	wantFiles(t, dir)
}

// TestDoctor catches a doctor that finds fault with a machine on which everything else here runs, or leaves its lab behind.
func TestDoctor(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	stdout, stderr, code := runCommand(t, in(openFolder(t), "doctor"))
	if code != 0 || stderr != "" {
		t.Errorf("doctor: got exit code %d and %q on stderr, want 0 and nothing", code, stderr)
	}
	wantParts(t, "doctor", stdout, "kernel", "iptables", "inet_diag", "capture", "experiments can run here")
	stdout, _, code = runCommand(t, in(openFolder(t), "doctor", "--json"))
	doc, err := oneJSON([]byte(stdout))
	if code != 0 || err != nil || doc["schema"] != "tcplab.doctor/v1" {
		t.Errorf("doctor --json: got exit code %d, %v, schema %v, want 0 and tcplab.doctor/v1", code, err, doc["schema"])
	}
}

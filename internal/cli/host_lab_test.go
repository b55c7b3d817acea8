//go:build lab

package cli

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/experiments"
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

// apart runs a shell command that sees a /run and a /tmp of its own, both empty, and mounts that what it starts could change: other processes of the machine do
// not disturb the look at what it leaves there. It runs in /tmp/out, which may hold what it likes.
func apart(t *testing.T, command string) (left, before, after []string, results int, stderr string, code int) {
	t.Helper()
	labtest.Need(t, labtest.Root, labtest.Command("unshare"))
	dir := openFolder(t)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", `set -e
		exec 3>"$0/before" 4>"$0/after" 5>"$0/left" 6>"$0/results"
		mkdir "$0/tmp"
		mount -t tmpfs tmpfs "$0/tmp"
		mkdir -m 777 "$0/tmp/bin" "$0/tmp/out"
		cp "$(command -v tcplab)" "$0/tmp/bin/tcplab"
		mount --move "$0/tmp" /tmp
		mount -t tmpfs tmpfs /run
		mount --make-rshared / # as systemd has it: what a lab mounts and does not keep to itself is seen here
		PATH=/tmp/bin:$PATH
		cd /tmp/out
		cat /proc/self/mountinfo >&3
		set +e
		(`+command+`) 3>&- 4>&- 5>&- 6>&-
		code=$?
		cat /proc/self/mountinfo >&4
		find /run /tmp -mindepth 1 ! -path "/tmp/out*" ! -path "/tmp/bin*" >&5
		find /tmp/out -name result.json >&6
		exit $code`, dir)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TMPDIR=") })
	_, stderr, code = runCommand(t, cmd)
	lines := func(name string) []string {
		return strings.FieldsFunc(string(readFile(t, dir, name)), func(r rune) bool { return r == '\n' })
	}
	return lines("left"), lines("before"), lines("after"), len(lines("results")), stderr, code
}

// TestHostUntouched makes the whole catalogue and catches a run that changes the machine: a setting, a link or what it is like, an address, a route, a rule of
// routing or of a firewall, a mount, a file in /run or in the folder for temporary files.
func TestHostUntouched(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("ip"), labtest.Command("iptables-save"))
	look := func() (map[string]string, machine) {
		t.Helper()
		all, err := knobs()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range [][]string{{"ip", "-d", "-o", "link"}, {"ip", "-o", "address"}, {"ip", "route", "show", "table", "all"}, {"ip", "-6", "route", "show", "table", "all"},
			{"ip", "rule"}, {"ip", "-6", "rule"}, {"ip", "neighbour", "show", "nud", "permanent"}, {"ip", "netns"}} { // the machine's own traffic makes and ages other neighbours
			out, errs, code := runCommand(t, exec.Command(c[0], c[1:]...))
			if code != 0 {
				t.Fatalf("%v: got exit code %d, want 0: %s", c, code, errs)
			}
			all[strings.Join(c, " ")] = comments(out)
		}
		return all, lookAtMachine(t)
	}
	settings, things := look()
	left, before, after, results, stderr, code := apart(t, "tcplab run all --profile=fast --out=/tmp/out/runs")
	if want := len(experiments.All()); code != 0 && code != explain.ExitInconclusive || results < want { // what they come to is not the question here
		t.Errorf("got exit code %d and %d results, want 0 and %d\n%s", code, results, want, stderr)
	}
	settings2, things2 := look()
	if diff := cmp.Diff(settings, settings2); diff != "" {
		t.Errorf("the machine's settings (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(things, things2); diff != "" {
		t.Errorf("the machine's links, mounts, rules and /run (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before, after); diff != "" || len(before) == 0 {
		t.Errorf("mounts (-before +after):\n%s", diff)
	}
	if len(left) > 0 {
		t.Errorf("in /run and /tmp: got %q left, want nothing", left)
	}
}

// TestApartSees is the negative control of what TestHostUntouched sees of /run, /tmp and mounts, at any depth.
func TestApartSees(t *testing.T) {
	left, before, after, results, stderr, code := apart(t, `mkdir -p /run/a/b && touch /run/a/b/c /tmp/d result.json && unshare --mount --propagation unchanged mount -t tmpfs tmpfs /mnt`)
	left = slices.DeleteFunc(left, func(name string) bool { return strings.HasPrefix(name, "/run/mount") }) // of mount(8)
	if want := []string{"/run/a", "/run/a/b", "/run/a/b/c", "/tmp/d"}; code != 0 || results != 1 || !slices.Equal(slices.Sorted(slices.Values(left)), want) {
		t.Errorf("got exit code %d, %d results and %q, want 0, 1 and %q\n%s", code, results, left, want, stderr)
	}
	if len(after) != len(before)+1 {
		t.Errorf("mounts: got %d, then %d, want one more", len(before), len(after))
	}
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
// files of its own. Where the machine disturbed one of them, or their runs were not at the same time, both are made again.
func TestTwoUsers(t *testing.T) {
	args := []string{"run", "exp1", "exp0", "--profile=fast"} // what a busy machine disturbs least
	why := ""
	for range attempts {
		dirs := [2]string{openFolder(t), openFolder(t)}
		commands := [2]*exec.Cmd{in(dirs[0], args...), rootless(t, dirs[1], args...)}
		commands[0].Env = append(os.Environ(), "SUDO_UID=64321", "SUDO_GID=64321")
		var said [2]string
		var codes [2]int
		var wg sync.WaitGroup
		for i, cmd := range commands {
			wg.Go(func() {
				text, err := cmd.CombinedOutput()
				if said[i] = string(text); err != nil {
					codes[i], err = exitCode(err)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i, owner := range []uint32{64321, nobody} {
			if codes[i] != explain.ExitPass && codes[i] != explain.ExitInconclusive {
				t.Fatalf("exit code: got %d, want 0 or %d\n%s", codes[i], explain.ExitInconclusive, said[i])
			}
			wantOwner(t, filepath.Join(dirs[i], "tcplab-runs"), owner)
		}
		from, to := spanOf(t, dirs[0])
		from2, to2 := spanOf(t, dirs[1])
		if codes == [2]int{} && from.Before(to2) && from2.Before(to) {
			return
		}
		why = fmt.Sprintf("got exit codes %v, from %v to %v and from %v to %v, want 0 of both, at the same time", codes, from, to, from2, to2)
		t.Log(why)
	}
	t.Errorf("%s; run this on a quieter machine", why)
}

// spanOf is from when to when the runs below a folder went on.
func spanOf(t *testing.T, dir string) (from, to time.Time) {
	t.Helper()
	results, err := filepath.Glob(filepath.Join(dir, "tcplab-runs", "2*", "result.json"))
	if err != nil || len(results) < 2 {
		t.Fatalf("results: got %q, %v, want two or more", results, err)
	}
	for i, name := range results {
		r := readResult(t, readFile(t, name))
		if end := r.Started.Add(r.Wall.Duration()); i == 0 || end.After(to) {
			to = end
		}
		if i == 0 || r.Started.Before(from) {
			from = r.Started
		}
	}
	return from, to
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
// a mount namespace of its own; its sizes end the writing at different files, and so do its numbers of files.
func TestFullDisk(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("unshare"))
	t.Parallel()
	for _, size := range []string{"size=4k", "size=24k", "size=56k", "size=120k", "nr_inodes=1", "nr_inodes=2", "nr_inodes=3", "nr_inodes=5"} {
		t.Run(size, func(t *testing.T) {
			t.Parallel()
			dir := openFolder(t)
			cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs -o `+size+` tmpfs "$0" || exit 99
				tcplab run exp1 --profile=fast --out="$0"/runs >"$0".out; code=$?
				find "$0" -mindepth 1 >"$0".found
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
				t.Errorf("on the disk: got %s left, want nothing", found)
			}
		})
	}
}

// TestFullOutput catches a result, or the events, that could not be printed being called a run that was carried out.
func TestFullOutput(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables, labtest.Command("sh"))
	t.Parallel()
	for _, tt := range []struct{ command, says string }{
		{"tcplab run exp1 --profile=fast --json >/dev/full", "/dev/stdout"},
		{"tcplab run exp1 --profile=fast >/dev/full", "/dev/stdout"},
		{"tcplab run exp1 --profile=fast --events=- >/dev/full", "write events"},
		{"tcplab run exp1 --profile=fast --events=/dev/full", "/dev/full"},
	} {
		t.Run(tt.command, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("sh", "-c", tt.command)
			cmd.Dir = openFolder(t)
			_, stderr, code := runCommand(t, cmd)
			if code != explain.ExitInternal {
				t.Errorf("exit code: got %d, want %d", code, explain.ExitInternal)
			}
			wantParts(t, "stderr", stderr, tt.says, "no space left on device")
			wantWhole(t, cmd.Dir)
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

package labtest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// A marker is an environment variable that every process started by the tests inherits. It finds orphans, which no longer have
// this process as their parent.
type marker string

func markChildren() (marker, error) {
	m := marker("TCPLAB_LEAKS_" + strconv.Itoa(os.Getpid()))
	if err := os.Setenv(string(m), "1"); err != nil {
		return "", fmt.Errorf("set %s: %w", m, err)
	}
	return m, nil
}

func (m marker) remove() { _ = os.Unsetenv(string(m)) } // unsetenv of a valid name cannot fail

// in says whether an environment block (/proc/PID/environ, separated by NUL) carries the marker.
func (m marker) in(environ []byte) bool {
	return strings.Contains("\x00"+string(environ), "\x00"+string(m)+"=")
}

// gone says whether err only means that a process, a thread or a descriptor ended while it was looked at.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// addDescriptors adds the open descriptors of this process. The number and the target together name one: a pipe's or socket's
// inode is not used again while it is open.
func addDescriptors(s snapshot, _ marker) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if gone(err) { // the descriptor that read the directory itself
			continue
		}
		if err != nil {
			return err
		}
		s["fd "+e.Name()+" "+target] = fmt.Sprintf("descriptor %s: %s", e.Name(), target)
		inode, ok, err := namespaceOf("/proc/self/fd/" + e.Name())
		if err != nil {
			return err
		}
		if ok {
			s[fmt.Sprintf("ns net:[%d]", inode)] = fmt.Sprintf("namespace [%d] held by descriptor %s of this process", inode, e.Name())
		}
	}
	return nil
}

const nsfsMagic = 0x6e736673 // NSFS_MAGIC of include/uapi/linux/magic.h

// namespaceOf returns the inode of the namespace that path leads to, and false when it leads to something else. The link's text
// does not tell: for a descriptor opened under /run/netns it is that path, or "/" once the name is gone.
func namespaceOf(path string) (inode uint64, ok bool, err error) {
	var fs syscall.Statfs_t
	var st syscall.Stat_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return 0, false, ended(err)
	}
	if int64(fs.Type) != nsfsMagic { // the field is 32 bits wide on some machines
		return 0, false, nil
	}
	if err := syscall.Stat(path, &st); err != nil {
		return 0, false, ended(err)
	}
	return st.Ino, true, nil
}

// ended drops an error that gone explains.
func ended(err error) error {
	if gone(err) {
		return nil
	}
	return err
}

// addGoroutines adds every goroutine but the runtime's own and the one of os/signal, which nothing can end. A goroutine's number
// is never used again.
func addGoroutines(s snapshot, _ marker) error {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	for stack := range strings.SplitSeq(strings.TrimSpace(string(buf)), "\n\n") {
		head, _, _ := strings.Cut(stack, " [")
		if strings.Contains(stack, "\nos/signal.loop()") {
			continue
		}
		if !strings.HasPrefix(head, "goroutine ") {
			return fmt.Errorf("stack dump: got %q, want a line that begins with goroutine", head)
		}
		s[head] = stack
	}
	return nil
}

// addProcesses adds the living and the unreaped processes that the tests started, and the network namespaces that they are in.
func addProcesses(s snapshot, mark marker) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	self := strconv.Itoa(os.Getpid())
	for _, e := range entries {
		pid := e.Name()
		if _, err := strconv.Atoi(pid); err != nil || pid == self {
			continue
		}
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		p, err := parseStat(string(stat))
		if err != nil {
			return err
		}
		environ, err := os.ReadFile("/proc/" + pid + "/environ")
		if err != nil {
			environ = nil // another user's process, or a zombie: the parent decides
		}
		if p.parent != self && !mark.in(environ) {
			continue
		}
		s["process "+pid+" "+p.started] = fmt.Sprintf("process %s (%s), state %s, parent %s", pid, p.name, p.state, p.parent)
		if ns, err := os.Readlink("/proc/" + pid + "/ns/net"); err == nil { // a zombie has none
			s["ns "+ns] = fmt.Sprintf("network namespace %s held by process %s (%s)", ns, pid, p.name)
		}
	}
	return nil
}

// process is what a leak report needs of /proc/PID/stat.
type process struct{ name, state, parent, started string }

// parseStat reads proc_pid_stat(5). The name stands in brackets and may hold spaces and brackets itself.
func parseStat(stat string) (process, error) {
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return process{}, fmt.Errorf("process state %q: want the name in brackets", stat)
	}
	rest := strings.Fields(stat[end+1:])
	const started = 22 - 3 // field 22 is starttime; rest begins with field 3
	if len(rest) <= started {
		return process{}, fmt.Errorf("process state %q: got %d fields after the name, want more than %d", stat, len(rest), started)
	}
	return process{name: stat[open+1 : end], state: rest[0], parent: rest[1], started: rest[started]}, nil
}

// addThreads adds the network namespaces that this process's threads are in: a thread that was not brought back shows here.
func addThreads(s snapshot, _ marker) error {
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		return err
	}
	for _, path := range tasks {
		ns, err := os.Readlink(path)
		if gone(err) {
			continue
		}
		if err != nil {
			return err
		}
		s["ns "+ns] = "network namespace " + ns + " held by thread " + strings.Split(path, "/")[4]
	}
	return nil
}

// addNamed adds namespaces that a bind mount keeps alive, as ip netns add does under /run/netns.
func addNamed(s snapshot, _ marker) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, m := range nsfsMounts(string(mounts)) {
		s["mount "+m] = "named namespace " + m
	}
	return nil
}

// nsfsMounts returns "PATH NAMESPACE" for each mount of type nsfs in proc_pid_mountinfo(5).
func nsfsMounts(mountinfo string) []string {
	var found []string
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		fields := strings.Fields(left)
		if !ok || len(fields) < 5 || !strings.HasPrefix(right, "nsfs ") || !strings.HasPrefix(fields[3], "net:[") {
			continue
		}
		found = append(found, fields[4]+" "+fields[3])
	}
	return found
}

// addLinks adds the links of the namespace that the tests run in. The index is never used again within one namespace.
func addLinks(s snapshot, _ marker) error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, l := range links {
		s[fmt.Sprintf("link %d", l.Index)] = fmt.Sprintf("link %d: %s, in the namespace of the tests", l.Index, l.Name)
	}
	return nil
}

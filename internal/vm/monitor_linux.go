package vm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// monitor speaks QMP with an engine: one JSON document a line, commands one way, answers and events the other (docs/interop/qmp-spec of QEMU).
// It is used by one goroutine at a time. An engine that is gone ends every call.
type monitor struct {
	conn *net.UnixConn
	r    *bufio.Reader
}

// newMonitor gives the machine a monitor, and returns the end of it that the engine gets.
func (m *machine) newMonitor() (engine *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the engine's monitor: socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "monitor"), os.NewFile(uintptr(fds[1]), "monitor")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("make the engine's monitor: %w", err)
	}
	m.monitor = &monitor{conn: conn.(*net.UnixConn), r: bufio.NewReader(conn)}
	return theirs, nil
}

func (m *monitor) Close() error { return m.conn.Close() }

// said is one line of an engine: an answer, an error, an event or the greeting.
type said struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Status string `json:"status"`
	} `json:"data"`
}

// read is the next line.
func (m *monitor) read() (s said, err error) {
	line, err := m.r.ReadBytes('\n')
	if err != nil {
		return s, fmt.Errorf("%w: its monitor: %w", errUnanswered, err)
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return s, fmt.Errorf("the engine's monitor said %.80q: %w", line, err)
	}
	return s, nil
}

// greet begins: the engine speaks first, and takes commands when it was told that this end understands it. The events that tell of a
// migration are wanted, and that no memory goes through it: this process has that, too.
func (m *monitor) greet() error {
	if _, err := m.read(); err != nil {
		return err
	}
	if _, err := m.do("qmp_capabilities", nil, nil); err != nil {
		return err
	}
	type capability struct {
		Name string `json:"capability"`
		On   bool   `json:"state"`
	}
	_, err := m.do("migrate-set-capabilities", map[string]any{"capabilities": []capability{{"x-ignore-shared", true}, {"events", true}}}, nil)
	return err
}

// do gives a command, with a descriptor where file is not nil, and waits for its answer. Events that come before the answer are lost.
func (m *monitor) do(command string, arguments map[string]any, file *os.File) (json.RawMessage, error) {
	q := map[string]any{"execute": command}
	if arguments != nil {
		q["arguments"] = arguments
	}
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	if _, _, err := m.conn.WriteMsgUnix(append(b, '\n'), rights, nil); err != nil {
		return nil, fmt.Errorf("the engine's monitor: %s: %w", command, err)
	}
	for {
		s, err := m.read()
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", command, err)
		case s.Error != nil:
			return nil, fmt.Errorf("%s refused %s: %s", engine, command, s.Error.Desc)
		case s.Return != nil:
			return s.Return, nil
		}
	}
}

// event waits for an event of that name and returns its status, which most have not. Others are passed over.
func (m *monitor) event(name string) (status string, err error) {
	for {
		s, err := m.read()
		if err != nil {
			return "", fmt.Errorf("wait for %s: %w", name, err)
		}
		if s.Event == name {
			return s.Data.Status, nil
		}
	}
}

// device names the file through which the state of the engine's devices goes, for migrate and migrate-incoming.
const device = "device"

// migrate moves the state of the devices out into a file, or in from one: which names the command. The guest stands still before and after.
func (m *monitor) migrate(command string, file *os.File) error {
	if _, err := m.do("getfd", map[string]any{"fdname": device}, file); err != nil {
		return err
	}
	if _, err := m.do(command, map[string]any{"uri": "fd:" + device}, nil); err != nil {
		return err
	}
	for {
		switch status, err := m.event("MIGRATION"); {
		case err != nil:
			return err
		case status == "completed":
			return nil
		case status == "failed" || status == "cancelled":
			return errors.New(engine + ": " + command + " " + status)
		}
	}
}

// goOn lets a guest go on that stands still. After a migration the engine takes a moment until it can.
func (m *monitor) goOn() error {
	for {
		b, err := m.do("query-status", nil, nil)
		if err != nil {
			return err
		}
		var s struct {
			Status string `json:"status"`
		}
		if err := json.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("the engine's monitor: query-status: %w", err)
		}
		if s.Status != "inmigrate" && s.Status != "finish-migrate" {
			break
		}
	}
	_, err := m.do("cont", nil, nil)
	return err
}

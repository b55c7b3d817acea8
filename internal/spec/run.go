package spec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/sysctl"
)

// run carries the steps out. A call that fails ends them: that is an observation. The connection stays as the last step leaves it, because the
// end of the client's process would close it.
func (f *File) run(ctx context.Context, l *lab.Lab, e experiments.Env) error {
	if f.Window > 0 {
		if err := l.Client.InitialWindow(f.Window); err != nil {
			return err
		}
	}
	c, err := l.Client.Start(ctx)
	if err != nil {
		return err
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return err
	}
	r := &running{f: f, l: l, c: c, e: e.Begin(now), rules: map[int]*lab.Filter{}}
	for _, s := range f.Steps {
		err := r.step(ctx, s)
		var failed *lab.CallError
		if errors.As(err, &failed) {
			return c.Close() // no connection is left that this could end
		}
		if err != nil && !errors.Is(err, lab.ErrQuiet) {
			return err
		}
	}
	return nil
}

// running is one run's progress.
type running struct {
	f     *File
	l     *lab.Lab
	c     *lab.Client
	e     experiments.Env
	base  time.Duration // CLOCK_MONOTONIC from which the later calls are planned
	rules map[int]*lab.Filter
}

// at is when a step is due.
func (r *running) at(s Step) time.Duration { return r.base + r.e.Whole(s.At) }

func (r *running) step(ctx context.Context, s Step) (err error) {
	switch s.Kind {
	case StepConnect:
		return r.connect(ctx, s.Connect)
	case StepSend:
		_, err = r.c.Send(ctx, s.Text, r.at(s))
	case StepWrite:
		_, err = r.c.Write(ctx, s.Segments, s.Size, r.at(s))
	case StepGet:
		_, err = r.c.Get(ctx, s.Text, r.at(s))
	case StepReceive:
		o := lab.ReceiveOptions{}
		if s.Until > 0 {
			o.Until = r.base + r.e.Whole(s.Until)
		}
		_, err = r.c.Receive(ctx, o)
	case StepShutdown:
		_, err = r.c.Shutdown(ctx, r.at(s))
	case StepClose:
		_, err = r.c.Hangup(ctx, r.at(s))
	case StepSet:
		if err = r.wait(ctx, s); err == nil {
			_, err = r.host(s.Set.Host).Set(s.Set.Name, s.Set.Value, fmt.Sprintf("step in line %d", s.Pos.Line))
		}
	case StepFault:
		if err = r.wait(ctx, s); err == nil {
			err = r.fault(ctx, s)
		}
	}
	return err
}

// connect opens the connection. On a busy machine it is opened later, and the calls behind it keep their distance.
func (r *running) connect(ctx context.Context, c Connect) error {
	o := lab.DialOptions{At: r.e.StartAt, SocketOptions: lab.SocketOptions{SYNCount: c.SYNCount, UserTimeout: c.UserTimeout, KeepAlive: c.KeepAlive,
		KeepIdle: c.KeepIdle, KeepInterval: c.KeepInterval, KeepCount: c.KeepCount, NoDelay: c.NoDelay, MaxSeg: c.MaxSegment, SendBuffer: c.SendBuffer}}
	err := r.c.Connect(ctx, r.l.Server.Port(c.Port), o)
	r.base = r.c.Opened()
	return err
}

// wait waits until a step is due that no call of the client's waits for: the pause is the experiment's.
func (r *running) wait(ctx context.Context, s Step) error {
	now, err := kernel.MonotonicNow()
	if err != nil || s.At == 0 || r.base == 0 {
		return err
	}
	due := time.NewTimer(r.at(s) - now)
	defer due.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-due.C:
		return nil
	}
}

func (r *running) host(name string) *lab.Host {
	switch name {
	case "server":
		return r.l.Server
	case "router":
		return r.l.Router
	}
	return r.l.Client
}

// fault switches a fault.
func (r *running) fault(ctx context.Context, s Step) error {
	x := r.f.Faults[s.Fault]
	h := r.host(x.At)
	if x.Kind == Link {
		return h.SetLink(ctx, !s.On)
	}
	rule := x.rule(r.f.Server.Port, r.e.Options.IPv6())
	if s.On {
		made, err := h.Drop(ctx, rule)
		r.rules[s.Fault] = made
		return err
	}
	made := r.rules[s.Fault]
	if made == nil { // it was there from the start
		rules := h.Rules()
		i := slices.IndexFunc(rules, func(o *lab.Filter) bool {
			return slices.EqualFunc(o.Specs(), rule.Specs(), slices.Equal) && o.Chain == rule.Chain
		})
		if i < 0 {
			return fmt.Errorf("line %d: the fault is not there", s.Pos.Line)
		}
		made = rules[i]
	}
	delete(r.rules, s.Fault)
	return made.Remove(ctx)
}

// byHand are the commands that do the steps, in the way of a person: a line of Python, and the rules between.
func (f *File) byHand(ipv6 bool) []string {
	client, server := lab.Addresses(ipv6)
	in := func(host, cmd string) string { return "ip netns exec " + host + " " + cmd }
	c := f.connect().Connect
	family := ""
	if ipv6 {
		family = "socket.AF_INET6"
	}
	py := "import os, socket, time; s = socket.socket(" + family + "); "
	set := func(level, name string, v any) {
		py += fmt.Sprintf("s.setsockopt(socket.%s, socket.%s, %v); ", level, name, v)
	}
	for _, o := range []struct {
		name string
		v    int
	}{{"TCP_SYNCNT", c.SYNCount}, {"TCP_USER_TIMEOUT", int(c.UserTimeout.Milliseconds())}, {"TCP_KEEPIDLE", int(c.KeepIdle.Seconds())},
		{"TCP_KEEPINTVL", int(c.KeepInterval.Seconds())}, {"TCP_KEEPCNT", c.KeepCount}, {"TCP_MAXSEG", c.MaxSegment}} {
		if o.v > 0 {
			set("IPPROTO_TCP", o.name, o.v)
		}
	}
	if c.KeepAlive {
		set("SOL_SOCKET", "SO_KEEPALIVE", 1)
	}
	if c.SendBuffer > 0 {
		set("SOL_SOCKET", "SO_SNDBUF", c.SendBuffer)
	}
	at := time.Duration(0)
	for _, s := range f.Steps {
		if s.At > at {
			py += fmt.Sprintf("time.sleep(%g); ", (s.At - at).Seconds())
			at = s.At
		}
		py += f.stepByHand(s, fmt.Sprintf(`("%s", %d)`, server.Addr(), c.Port), ipv6)
	}
	var out []string
	if f.Window > 0 {
		out = append(out, in("client", fmt.Sprintf("%s initcwnd %d", experiments.RouteChange(client), f.Window)))
	}
	return append(out, in("client", "python3 -c '"+strings.ReplaceAll(py, "'", `'\''`)+"time.sleep(1)'"))
}

// stepByHand is one step in Python.
func (f *File) stepByHand(s Step, to string, ipv6 bool) string {
	switch s.Kind {
	case StepConnect:
		return "s.connect(" + to + "); "
	case StepSend:
		return fmt.Sprintf("s.sendall(bytes.fromhex(\"%x\")); ", s.Text)
	case StepWrite:
		return fmt.Sprintf("s.send(bytes(%d)); ", s.Segments*s.Size)
	case StepGet:
		path := pythonText(s.Text)
		return "s.sendall(b\"GET " + path[1:len(path)-1] + ` HTTP/1.1\r\nHost: server\r\n\r\n"); `
	case StepReceive:
		return "s.recv(65536); "
	case StepShutdown:
		return "s.shutdown(socket.SHUT_WR); "
	case StepClose:
		return "s.close(); "
	case StepSet:
		return "os.system(" + pythonText("ip netns exec "+s.Set.Host+" "+sysctl.Command(s.Set.Name, s.Set.Value)) + "); "
	}
	x := f.Faults[s.Fault]
	if x.Kind == Link {
		return fmt.Sprintf(`os.system("ip netns exec %s ip link set %s %s"); `, x.At, lab.Iface, map[bool]string{true: "down", false: "up"}[s.On])
	}
	verb := "-A"
	if !s.On {
		verb = "-D"
	}
	cmd, rule := "", x.rule(f.Server.Port, ipv6)
	for _, spec := range rule.Specs() {
		cmd += fmt.Sprintf(`os.system("""ip netns exec %s %s %s %s %s"""); `, x.At, rule.Program(), verb, rule.Chain, quoted(spec))
	}
	return cmd
}

// pythonText is a text as a literal of Python's.
func pythonText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` // what Parse took has no line ends
}

// quoted writes a rule's arguments for a shell.
func quoted(spec []string) string {
	s := ""
	for _, w := range spec {
		if slices.ContainsFunc([]rune(w), func(r rune) bool { return r == ' ' }) {
			w = `"` + w + `"`
		}
		s += w + " "
	}
	return s
}

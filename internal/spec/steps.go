package spec

import (
	"strings"
	"time"
)

// steps reads what the client does. Sleeps become the times of the steps behind them, because a call that is planned for a time is predicted
// for that time.
func (d *decoder) steps(n *node) {
	at := time.Duration(0)
	connected, over := false, false
	first := map[int]bool{} // faults that a step has switched
	for _, item := range n.items {
		s, arg := step(item)
		s.At = at
		switch s.Kind {
		case stepSleep:
			at += d.time(arg)
			if !connected {
				d.problem(item, "sleep: time counts from the connect: put it behind that")
			}
			if at > longestTime {
				d.problem(item, "sleep: the steps take %v: want %v at most", at, longestTime)
			}
			continue
		case StepConnect:
			if connected {
				d.problem(item, "connect: there is one connection in a file")
			}
			connected = true
			d.connect(arg, &s)
		case StepSet:
			d.set(arg, &s)
		case StepFault:
			d.switchFault(arg, &s, first)
		default:
			if !connected {
				d.problem(item, "%s: there is no connection yet: begin with connect", s.Kind)
			}
			if over {
				d.problem(item, "%s: the client has closed before", s.Kind)
			}
			over = over || s.Kind == StepClose
			d.call(arg, &s, item)
		}
		d.f.Steps = append(d.f.Steps, s)
	}
	if !connected {
		d.problem(n, "steps: none of them is connect")
	}
}

// step is a step's kind and its argument, which may be nil.
func step(item *node) (Step, *node) {
	if item.kind == mapping && len(item.keys) == 1 {
		return Step{Pos: item.pos, Kind: StepKind(item.keys[0].name)}, item.keys[0].val
	}
	return Step{Pos: item.pos, Kind: StepKind(item.text())}, nil
}

func (d *decoder) connect(n *node, s *Step) {
	c := &s.Connect
	c.Port = d.f.Server.Port
	if n == nil {
		return
	}
	if p := n.get("port"); p != nil {
		c.Port = uint16(p.number())
	}
	c.SYNCount, c.KeepCount = n.get("syn_count").number(), n.get("keep_count").number()
	c.MaxSegment, c.SendBuffer = n.get("max_segment").number(), n.get("send_buffer").number()
	c.KeepAlive, c.NoDelay = n.get("keepalive").truth(), n.get("no_delay").truth()
	c.UserTimeout = d.whole(n.get("user_timeout"), time.Millisecond)
	c.KeepIdle, c.KeepInterval = d.whole(n.get("keep_idle"), time.Second), d.whole(n.get("keep_interval"), time.Second)
}

// whole is a time that the kernel takes in whole units.
func (d *decoder) whole(n *node, unit time.Duration) time.Duration {
	t := d.time(n)
	if n != nil && (t%unit != 0 || t == 0) {
		d.problem(n, "%s: the kernel takes whole multiples of %v, one at least", n.text(), unit)
	}
	return t
}

// call reads what a call of the client takes.
func (d *decoder) call(n *node, s *Step, item *node) {
	switch s.Kind {
	case StepSend, StepGet:
		s.Text = n.text()
		if s.Kind == StepGet && d.f.Server.Service != "http" {
			d.problem(item, "get: the server's service is %s, which answers no GET", d.f.Server.Service)
		}
	case StepWrite:
		s.Segments, s.Size = n.get("segments").number(), n.get("size").number()
	case StepReceive:
		if u := n.get("until"); u != nil {
			if s.Until = d.time(u); s.Until <= s.At {
				d.problem(u, "until: %v is not after the step, which comes at %v", s.Until, s.At)
			}
		}
	}
}

func (d *decoder) set(n *node, s *Step) {
	host, rest, ok := strings.Cut(n.text(), ".")
	name, value, is := strings.Cut(rest, "=")
	if !ok || !is || host != "client" && host != "server" {
		d.problem(n, "set: got %q, want HOST.NAME=VALUE such as client.tcp_retries2=3", n.text())
		return
	}
	var err error
	if s.Set, err = setting(host, strings.TrimSpace(name), value); err != nil {
		d.problem(n, "set: %v", err)
	}
}

// switchFault reads which fault a step switches. One that is first switched on is off before.
func (d *decoder) switchFault(n *node, s *Step, first map[int]bool) {
	name, state, _ := strings.Cut(n.text(), " ")
	s.On = state == "on"
	var names []string
	for i, x := range d.f.Faults {
		if x.Name == "" {
			continue
		}
		names = append(names, x.Name)
		if x.Name != name {
			continue
		}
		s.Fault = i
		if x.Kind == Delay {
			d.problem(n, "fault: a delay is there from the start to the end")
		}
		if !first[i] {
			d.f.Faults[i].Off = s.On
		}
		first[i] = true
		return
	}
	if len(names) == 0 {
		d.problem(n, "fault: no fault has a name: `name: %s` gives it one", name)
		return
	}
	d.problem(n, "fault: none is called %s%s; there are %s", name, didYouMean(name, names), orList(names))
}

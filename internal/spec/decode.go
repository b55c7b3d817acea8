package spec

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/sysctl"
)

// mostProblems bounds what is told of one file.
const mostProblems = 50

// Parse reads an experiment. path names it in messages. The error is an *Invalid with all that is wrong.
func Parse(path string, src []byte) (*File, error) {
	f := &File{Path: path, Text: string(src)}
	root, problems := read(src)
	if len(problems) == 0 {
		d := &decoder{f: f}
		d.problems, d.unfit = judge(root)
		d.file(root)
		problems = d.problems
	}
	if len(problems) == 0 {
		_, problems = f.model()
	}
	if len(problems) == 0 {
		return f, nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
	return nil, &Invalid{Path: path, Problems: problems[:min(len(problems), mostProblems)]}
}

// decoder takes over what the schema has judged, and finds what only a program can see.
type decoder struct {
	f        *File
	problems []Problem
	unfit    map[string]bool // sections that the schema refuses: there is nothing to be said of what is in them
}

// section is a part of the document that the schema has nothing against, with those that it speaks of; nil where there is none.
func (d *decoder) section(root *node, name string, others ...string) *node {
	for _, s := range append(others, name) {
		if d.unfit[s] {
			return nil
		}
	}
	return root.get(name)
}

func (d *decoder) problem(n *node, format string, a ...any) {
	d.problems = append(d.problems, Problem{n.pos, fmt.Sprintf(format, a...)})
}

// longestTime is the longest time in a file.
const longestTime = 48 * time.Hour

func (d *decoder) time(n *node) time.Duration {
	if n == nil {
		return 0
	}
	t, err := time.ParseDuration(n.text())
	if err != nil || t < 0 || t > longestTime {
		d.problem(n, "the time %s: want %v at most", n.text(), longestTime)
		return 0
	}
	return t
}

func (d *decoder) file(root *node) {
	f := d.f
	if root.kind != mapping {
		return
	}
	f.Name, f.Summary, f.Question = root.get("name").text(), root.get("summary").text(), root.get("question").text()
	if f.Name == "all" {
		d.problem(root.get("name"), "name: all stands for the whole catalogue, take another")
	}
	link, client := d.section(root, "link"), d.section(root, "client")
	f.Router, f.IPv6 = link.get("router").truth(), link.get("family").text() == "ipv6"
	f.RTT = d.time(link.get("rtt"))
	f.Window = client.get("initial_window").number()
	d.settings("client", client.get("sysctl"))
	d.settings("server", d.section(root, "server").get("sysctl"))
	d.server(d.section(root, "server"))
	if faults := d.section(root, "faults", "link"); faults != nil {
		for _, n := range faults.items {
			d.fault(n)
		}
	}
	if f.RTT > mostRTT {
		d.problem(root, "the link's round-trip time of %v: want %v at most, with what the faults delay it by", f.RTT, mostRTT)
	}
	if steps := d.section(root, "steps", "faults", "server"); steps != nil {
		d.steps(steps)
	}
	d.expect(d.section(root, "expect"))
}

// mostRTT is the longest round trip that a link can have.
const mostRTT = 2 * time.Second

func (d *decoder) server(n *node) {
	s := Server{Port: 8080, Service: "http"}
	if p := n.get("listen"); p != nil {
		s.Port = uint16(p.number())
	}
	if v := n.get("service"); v != nil {
		s.Service = v.text()
	}
	s.AfterAnswer = n.get("closes").text() == "after-answer"
	if s.AfterAnswer && (s.Service == "sink" || s.Service == "hold") {
		d.problem(n.get("closes"), "server.closes: %s never answers, so it cannot close after that", s.Service)
	}
	s.Linger, s.LowWater = d.time(n.get("linger")), n.get("low_water").number()
	d.f.Server = s
}

// settings reads the knobs of one host.
func (d *decoder) settings(host string, n *node) {
	if n == nil {
		return
	}
	for _, e := range n.keys {
		value := e.val.text()
		if i, ok := e.val.value.(int64); ok {
			value = fmt.Sprint(i)
		}
		if s, err := setting(host, e.name, value); err != nil {
			d.problems = append(d.problems, Problem{e.pos, host + ".sysctl: " + err.Error()})
		} else {
			s.Pos = e.pos
			d.f.Settings = append(d.f.Settings, s)
		}
	}
}

// setting checks one knob with its value.
func setting(host, name, value string) (Setting, error) {
	_, full, v, err := sysctl.Parse(host + "." + name + "=" + value)
	if err != nil { // it speaks of --set, which nobody gave
		_, text, _ := strings.Cut(err.Error(), "\": ")
		return Setting{}, fmt.Errorf("%s: %s", name, text)
	}
	return Setting{Host: host, Name: full, Value: v}, nil
}

// fault reads one fault.
func (d *decoder) fault(n *node) {
	x := Fault{Pos: n.pos, Name: n.get("name").text(), From: n.get("from").text(), At: n.get("at").text(), With: n.get("with").text()}
	if x.Name != "" && slices.ContainsFunc(d.f.Faults, func(o Fault) bool { return o.Name == x.Name }) {
		d.problem(n.get("name"), "two faults are called %s", x.Name)
	}
	var verbs []string
	for _, k := range []FaultKind{Drop, Reject, Link, Delay} {
		if n.get(string(k)) != nil {
			verbs = append(verbs, string(k))
			x.Kind = k
		}
	}
	if len(verbs) != 1 {
		d.problem(n, "a fault does one thing: want one of drop, reject, link and delay, got %d", len(verbs))
		d.f.Faults = append(d.f.Faults, x) // a step may name it
		return
	}
	switch x.Kind {
	case Drop, Reject:
		d.packets(n, &x)
	case Link:
		if x.At == "" {
			x.At = "server"
		}
		if x.From != "" || x.At == "router" {
			d.problem(n, "link: down takes `at: client` or `at: server`, the end that goes down")
		}
	case Delay:
		x.Hold = d.time(n.get("delay"))
		d.f.RTT += 2 * x.Hold
		if x.From != "" || x.At != "" {
			d.problem(n, "delay holds every frame, both ways: leave from and at away")
		}
	}
	if x.With != "" && x.Kind != Reject {
		d.problem(n.get("with"), "with says what reject answers: a fault that drops says nothing")
	}
	d.f.Faults = append(d.f.Faults, x)
}

// packets reads which packets a fault takes, and where.
func (d *decoder) packets(n *node, x *Fault) {
	what := n.get(string(x.Kind))
	role, nth, err := parseRole(what.text())
	if err != nil {
		d.problem(what, "%s: %v", x.Kind, err)
		return // the fault is there, for a step that names it
	}
	x.Role, x.Nth = role, nth
	sender := role.sender()
	switch {
	case sender != "" && x.From != "" && x.From != sender:
		d.problem(n.get("from"), "from: a %s comes from the %s", role, sender)
	case sender != "":
		x.From = sender
	case x.From == "":
		x.From = "client"
	}
	if x.At == "" {
		x.At = other(x.From)
	}
	switch {
	case x.At == "router" && !d.f.Router:
		d.problem(n.get("at"), "at: there is no router between the hosts: `link: {router: true}` puts one there")
	case x.Kind == Reject && x.At != "server":
		d.problem(n.get("at"), "at: the server rejects what arrives there")
	case x.Kind == Reject && x.With == "":
		x.With = "tcp-reset"
	}
	if x.At == x.From && role == All {
		d.problem(n, "all: drop it where it arrives, at the %s", other(x.From))
	}
}

// other is the other end.
func other(host string) string {
	if host == "client" {
		return "server"
	}
	return "client"
}

// expect reads what is expected.
func (d *decoder) expect(n *node) {
	if n == nil {
		return
	}
	d.f.Expect.Pos = n.pos
	d.f.Expect.Model = n.get("model").text()
	if t := n.get("text"); t != nil {
		if d.f.Expect.Model != "" {
			d.problem(t, "expect: model or text, not both: each says everything that happens")
		}
		script, problems := parseScript(t.text(), d.placeIn(t))
		d.f.Expect.Text = script
		d.problems = append(d.problems, problems...)
	}
	states := n.get("states")
	if states == nil {
		return
	}
	d.f.Expect.States = map[string][]string{}
	for _, e := range states.keys {
		for _, s := range e.val.items {
			d.f.Expect.States[e.name] = append(d.f.Expect.States[e.name], s.text())
		}
	}
}

// placeIn tells where the lines of a text stand: those of a block are lines of the file.
func (d *decoder) placeIn(n *node) func(line int) Pos {
	if !n.block {
		return func(int) Pos { return n.pos }
	}
	src := strings.Split(d.f.Text, "\n")
	return func(line int) Pos {
		p := Pos{n.pos.Line + 1 + line, 1} // it begins below its sign
		if p.Line <= len(src) {
			text := src[p.Line-1]
			p.Col += len(text) - len(strings.TrimLeft(text, " "))
		}
		return p
	}
}

// Unpredicted says where in the file it lies that its prediction could not be made.
func (f *File) Unpredicted(err error) Problem {
	pos := f.Expect.Pos
	if pos == (Pos{}) {
		pos = f.connect().Pos
	}
	if m := new(misfit); errors.As(err, &m) && m.pos != (Pos{}) {
		pos = m.pos
	}
	return Problem{pos, "no prediction: " + err.Error()}
}

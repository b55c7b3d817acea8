package spec

import (
	"fmt"
	"strings"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
)

// Experiment is the file as an experiment like those of the catalogue. What the file sets holds under every profile; --set goes on top.
func (f *File) Experiment() *experiments.Experiment {
	b, _ := f.model() // Parse has bound it
	x := &experiments.Experiment{
		Name: f.Name, Summary: f.summary(), Question: f.Question,
		Settings: f.settings(), Source: &experiments.Source{Path: f.Path, Text: f.Text},
		Setup: f.setup,
		Calls: b.calls, Predict: b.predict, Run: f.run,
		States: b.states, Story: f.story, ByHand: func(p experiments.Plan) []string { return f.byHand(p.Options.IPv6()) },
	}
	family := ""
	if f.IPv6 {
		family = "yes"
	}
	x.Params = []experiments.Param{experiments.IPv6Param(family)}
	x.Checks = func(e experiments.Env, r *result.Result) []result.Check {
		return experiments.MSSChecks(f.setup(e.Options), r)
	}
	if s := f.Expect.States; s != nil {
		x.States = func(experiments.Env) map[string][]string { return s }
	}
	return x
}

// Model names what predicts the file: a model, or "text".
func (f *File) Model() string {
	b, _ := f.model()
	return b.name
}

// summary is the file's, or what its faults say.
func (f *File) summary() string {
	if f.Summary != "" {
		return f.Summary
	}
	var s []string
	for _, x := range f.Faults {
		s = append(s, x.words())
	}
	if len(s) == 0 {
		return "a link that loses nothing"
	}
	return strings.Join(s, "; ")
}

// words say what a fault does.
func (x Fault) words() string {
	switch x.Kind {
	case Link:
		return "the " + x.At + "'s link is down"
	case Delay:
		return fmt.Sprintf("every frame is held for %v", x.Hold)
	}
	verb := "drops "
	if x.Kind == Reject {
		verb = "rejects "
	}
	if x.Role == All {
		return "the " + x.At + " " + verb + "everything from the " + x.From
	}
	return "the " + x.At + " " + verb + x.rule(0, false).Text
}

func (f *File) settings() []experiments.Setting {
	var out []experiments.Setting
	for _, s := range f.Settings {
		out = append(out, experiments.Setting{Host: s.Host, Name: s.Name, Value: s.Value, Origin: fmt.Sprintf("%s:%d", f.Path, s.Pos.Line), Optional: absent(s.Name, s.Value)})
	}
	return out
}

// absent reports whether a kernel that lacks the knob behaves as if it had this value, by what the catalogue's experiments know of it.
func absent(name, value string) bool {
	for _, x := range experiments.All() {
		for _, q := range x.Params {
			if q.Sysctl == name && q.Absent != "" && q.Absent == value {
				return true
			}
		}
	}
	return false
}

// setup is what stands before the first packet.
func (f *File) setup(o experiments.Options) experiments.Setup {
	s := experiments.Setup{RTT: f.RTT, Router: f.Router, Listen: []lab.ListenOptions{f.Server.options()}}
	for _, x := range f.Faults {
		switch {
		case x.Kind == Link && !x.Off:
			s.LinkDown = x.At
		case x.Kind == Link:
			s.LinkFalls = x.At
		case x.Kind != Delay && !x.Off:
			s.Faults = append(s.Faults, experiments.Fault{Host: x.At, Rule: x.rule(f.Server.Port, o.IPv6())})
		}
	}
	if s.LinkDown != "" || s.LinkFalls != "" {
		s.OneSided = "a link is down"
	}
	if f.connect().Connect.MaxSegment > 0 {
		s.OwnMSS = "client"
	}
	return s.Over(o)
}

func (s Server) options() lab.ListenOptions {
	o := lab.ListenOptions{Port: s.Port, CloseDelay: s.Linger, LowWater: s.LowWater}
	if s.Service != "http" {
		o.Service = lab.Service(s.Service)
	}
	if s.AfterAnswer {
		o.Close = lab.AfterAnswer
	}
	return o
}

// segmentFlags are the flags that tell apart the segments of a connection.
const segmentFlags = pcapout.FIN | pcapout.SYN | pcapout.RST | pcapout.ACK

// corresponding are what iptables and what ip6tables answer with: RFC 792 and RFC 4443 have the same reasons under other names.
var corresponding = [][2]string{{"icmp-port-unreachable", "icmp6-port-unreachable"}, {"icmp-host-unreachable", "icmp6-addr-unreachable"},
	{"icmp-net-unreachable", "icmp6-no-route"}, {"icmp-admin-prohibited", "icmp6-adm-prohibited"}}

// answer is what a fault that rejects answers with over a family.
func (x Fault) answer(ipv6 bool) string {
	for _, c := range corresponding {
		if x.With != c[0] && x.With != c[1] {
			continue
		}
		if ipv6 {
			return c[1]
		}
		return c[0]
	}
	return x.With
}

// rule is the rule of iptables, or ip6tables, of a fault that drops or rejects. port is the server's.
func (x Fault) rule(port uint16, ipv6 bool) lab.Rule {
	r := lab.Rule{IPv6: ipv6, Chain: "INPUT", Nth: x.Nth, Reject: x.answer(ipv6)}
	switch x.At {
	case x.From:
		r.Chain = "OUTPUT"
	case "router":
		r.Chain = "FORWARD"
	}
	if x.Role == All {
		from, server := lab.Addresses(ipv6)
		if x.From == "server" {
			from = server
		}
		r.All, r.From, r.Text = true, from.Addr(), "everything from "+from.Addr().String()
		return r
	}
	names := map[Role]string{SYN: "SYN", SYNACK: "SYN-ACK", ACK: "bare ACK", Data: "data", FIN: "FIN", RST: "RST"}
	r.Text = "TCP " + names[x.Role] + " to :"
	if x.From == "server" {
		r.FromPort = port
		r.Text = "TCP " + names[x.Role] + " from :"
	} else {
		r.ToPort = port
	}
	r.Text += fmt.Sprint(port)
	if port == 0 {
		r.Text = "TCP " + names[x.Role] + " of the " + x.From
	}
	if len(x.Nth) > 0 {
		r.Text += ", number " + strings.Trim(strings.ReplaceAll(fmt.Sprint(x.Nth), " ", ", "), "[]")
	}
	switch x.Role {
	case SYN:
		r.Mask, r.Flags = segmentFlags, pcapout.SYN
	case SYNACK:
		r.Mask, r.Flags = segmentFlags, pcapout.SYN|pcapout.ACK
	case ACK:
		r.Mask, r.Flags, r.Payload = segmentFlags, pcapout.ACK, lab.WithoutData
	case Data:
		r.Payload = lab.WithData
	case FIN:
		r.Mask, r.Flags = pcapout.FIN, pcapout.FIN
	case RST:
		r.Mask, r.Flags = pcapout.RST, pcapout.RST
	}
	return r
}

package runner

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/tcplab/tcplab/internal/analyse"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/stall"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
)

// view is what both captures show at one moment: packets paired, named, with their fate.
type view struct {
	origin  time.Duration // CLOCK_MONOTONIC time of the first packet at its sender
	packets []result.Packet
	sights  []sight       // beside packets: where each was captured
	caught  []*lab.Filter // beside packets: the rule that dropped it behind a capture, or nil
	orphans int           // packets of no connection of the experiment, or not TCP at all
	ended   time.Duration
	several bool // there are several connections side by side
	// byClient: they are told apart by the client's port, not by the server's.
	byClient bool
	outcome  *timeline.Event
	offWire  []timeline.Event // what a program or a look saw
}

// sight is one packet at its capture points: indices into the captures, -1 where it was not seen.
type sight struct {
	from, to       string
	atSender, atTo int
	segment        pcapout.Segment
}

// captured is one capture, decoded. Several views share it, and change nothing in it.
type captured struct {
	host     string
	packets  []pcapout.Packet
	segments []pcapout.Segment // parallel to packets; ICMP and TCP only, others are marked bad
	bad      []bool
	keys     []pcapout.Fingerprint
	names    map[int]analyse.Named // by index
}

// view builds the picture from all packets so far; nil before the first. The caller holds the observer's lock.
func (o *observer) view() *view {
	both := o.decoded
	for host, src := range o.capture {
		if p := src.Packets(); both[host] == nil || len(p) != len(both[host].packets) { // a capture only grows
			both[host] = decode(host, p)
		}
	}
	v := &view{several: len(o.r.setup.Listen) > 1 || o.r.setup.LookAt != 0, byClient: o.r.setup.LookAt != 0}
	for _, c := range both {
		for i, bad := range c.bad {
			if bad && !(o.r.setup.NoNeighbours && (isARP(c.packets[i]) || isSolicitation(c.packets[i]))) {
				v.orphans++
			}
		}
	}
	v.sights = pair(both["client"], both["server"])
	if len(v.sights) == 0 {
		if o.connecting == nil {
			return nil
		}
		v.origin = o.connecting.After // nothing was captured: an OUTPUT drop. The call itself is the best origin there is.
	} else {
		v.origin = o.r.wall.mono(firstSight(v.sights[0], both))
	}
	v.caught = o.r.catch(v.sights, both)
	for i, s := range v.sights {
		v.packets = append(v.packets, o.packet(v, i, s, both))
	}
	v.outcome, v.offWire = o.outcome(v.origin), o.seen(v.origin)
	if now, err := monoNow(); err == nil {
		v.ended = now - v.origin
	}
	return v
}

// began is the CLOCK_MONOTONIC time of the first packet; nil before it. It does not change once a packet was seen, and pairing both captures
// a few times a second for its sake would be most of the work of a run that waits.
func (o *observer) began() *time.Duration {
	if o.origin == nil {
		if v := o.view(); v != nil && len(v.sights) > 0 {
			o.origin = &v.origin
		} else if v != nil {
			return &v.origin
		}
	}
	return o.origin
}

func decode(host string, packets []pcapout.Packet) *captured {
	c := &captured{host: host, packets: packets, names: map[int]analyse.Named{}}
	var good []pcapout.Segment
	var index []int
	for i, p := range packets {
		s, err := pcapout.Decode(pcapout.LinkEthernet, p)
		k, kerr := pcapout.Key(pcapout.LinkEthernet, p)
		c.segments, c.keys, c.bad = append(c.segments, s), append(c.keys, k), append(c.bad, err != nil || kerr != nil)
		if err == nil && kerr == nil {
			good, index = append(good, s), append(index, i)
		}
	}
	for _, conn := range analyse.Analyse(good, analyse.Options{}) {
		for _, n := range conn.Packets {
			c.names[index[n.Segment]] = n
		}
	}
	return c
}

// pair finds each packet in both captures by its content, copies in order, and sorts by the time at which it was seen first.
func pair(client, server *captured) []sight {
	var out []sight
	one := func(from, to *captured) {
		arrived := map[pcapout.Fingerprint][]int{}
		for i, p := range to.packets {
			if !p.Outgoing && !to.bad[i] {
				arrived[to.keys[i]] = append(arrived[to.keys[i]], i)
			}
		}
		for i, p := range from.packets {
			if !p.Outgoing || from.bad[i] {
				continue
			}
			s := sight{from: from.host, to: to.host, atSender: i, atTo: -1, segment: from.segments[i]}
			if q := arrived[from.keys[i]]; len(q) > 0 {
				s.atTo, arrived[from.keys[i]] = q[0], q[1:]
			}
			out = append(out, s)
		}
		for _, left := range arrived { // arrived, but the sender's capture missed it
			for _, i := range left {
				out = append(out, sight{from: from.host, to: to.host, atSender: -1, atTo: i, segment: to.segments[i]})
			}
		}
	}
	one(client, server)
	one(server, client)
	sort.SliceStable(out, func(a, b int) bool { return out[a].segment.Time.Before(out[b].segment.Time) })
	return out
}

func firstSight(s sight, both map[string]*captured) time.Time {
	if s.atSender >= 0 {
		return both[s.from].packets[s.atSender].Time
	}
	return both[s.to].packets[s.atTo].Time
}

// packet fills in one packet of the result.
func (o *observer) packet(v *view, i int, s sight, both map[string]*captured) result.Packet {
	at := func(host string, index int) *result.Seconds {
		if index < 0 {
			return nil
		}
		t := result.Seconds(o.r.wall.mono(both[host].packets[index].Time) - v.origin)
		return &t
	}
	p := result.Packet{ID: i + 1, From: s.from, To: s.to, Flags: s.segment.Flags.String(), Seq: s.segment.Seq, Ack: s.segment.Ack, Len: s.segment.Length,
		SrcPort: int(s.segment.Src.Port()), DstPort: int(s.segment.Dst.Port()), Window: int(s.segment.Window), MSS: int(s.segment.Options.MSS), WindowScale: windowScale(s.segment), FastOpen: fastOpen(s.segment),
		SentAt: at(s.from, s.atSender), ArrivedAt: at(s.to, s.atTo)}
	if o.r.setup.Link.Rate > 0 && s.atSender >= 0 {
		p.Frame = both[s.from].packets[s.atSender].OrigLen
	}
	name, ok := both[s.from].names[s.atSender]
	if !ok {
		name, ok = both[s.to].names[s.atTo]
	}
	if ok {
		p.What, p.N, p.RelSeq, p.RelAck, p.Detail = string(name.What), name.N, name.RelSeq, name.RelAck, name.Detail
		for _, b := range s.segment.Options.SACK {
			shift := name.RelAck - s.segment.Ack
			p.SACK = append(p.SACK, [2]uint32{b.Left + shift, b.Right + shift})
		}
	} else {
		p.What = "unknown"
	}
	p.Fate = result.Delivered
	if p.ArrivedAt == nil && v.caught[i] == nil {
		p.Fate = result.Lost
	} else if f := v.caught[i]; f != nil {
		p.Fate, p.Where = result.Dropped, place(f)
	}
	return p
}

// windowScale is a segment's Window Scale option, in the result's form. More than 14 counts as 14 (TCP_MAX_WSCALE, tcp_parse_options).
func windowScale(s pcapout.Segment) *int {
	const most = 14
	if s.Flags&pcapout.SYN == 0 || s.OptionsCut {
		return nil
	}
	n := -1
	if s.Options.HasWScale {
		n = min(int(s.Options.WScale), most)
	}
	return &n
}

// fastOpen is a segment's Fast Open option, in the result's form.
func fastOpen(s pcapout.Segment) string {
	switch {
	case !s.Options.HasFastOpen:
		return ""
	case len(s.Options.FastOpen) == 0 && s.Options.FastOpenExperimental:
		return result.FastOpenExperiment
	case len(s.Options.FastOpen) == 0:
		return result.FastOpenRequest
	}
	return hex.EncodeToString(s.Options.FastOpen)
}

// hooks is the order in which an arriving packet meets the chains that a capture sits before.
var hooks = map[string]int{"raw PREROUTING": 1, "mangle PREROUTING": 2, "mangle INPUT": 3, "filter INPUT": 4}

// catch finds for each sight the rule that drops it after its receiver's capture saw it; nil for none. A rule that drops certain packets
// only counts those that reach it, so each host's packets are led past its rules in the order of their arrival.
func (r *run) catch(sights []sight, both map[string]*captured) []*lab.Filter {
	rules := slices.DeleteFunc(slices.Clone(r.rules), func(f *lab.Filter) bool { return !f.AfterCapture() })
	slices.SortStableFunc(rules, func(a, b *lab.Filter) int {
		return cmp.Compare(hooks[a.TableName()+" "+a.Chain], hooks[b.TableName()+" "+b.Chain])
	})
	matchers := make([]func(pcapout.Segment) bool, len(rules))
	for i, f := range rules {
		matchers[i] = f.Matcher()
	}
	order := make([]int, len(sights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sights[a].atTo, sights[b].atTo) })
	out := make([]*lab.Filter, len(sights))
	for _, i := range order {
		s := sights[i]
		if s.atTo < 0 {
			continue
		}
		at := r.wall.mono(both[s.to].packets[s.atTo].Time)
		for k, f := range rules {
			if f.Host == s.to && at >= f.Made && (f.Removed == 0 || at < f.Removed) && matchers[k](s.segment) {
				out[i] = f
				break
			}
		}
	}
	r.catchBetween(sights, both, out)
	return out
}

// catchBetween finds what the router's rules drop: packets that were sent and did not arrive, of those that each rule counts. Each reaches the
// router in the order in which it was sent.
func (r *run) catchBetween(sights []sight, both map[string]*captured, out []*lab.Filter) {
	for _, f := range r.rules {
		if f.Chain != "FORWARD" {
			continue
		}
		drops := f.Matcher()
		for i, s := range sights {
			if s.atSender < 0 || out[i] != nil {
				continue
			}
			at := r.wall.mono(both[s.from].packets[s.atSender].Time)
			if at >= f.Made && (f.Removed == 0 || at < f.Removed) && drops(s.segment) && s.atTo < 0 {
				out[i] = f
			}
		}
	}
}

func place(f *lab.Filter) string {
	return fmt.Sprintf("%s %s %s %s", f.Host, f.Program(), f.TableName(), f.Chain)
}

// timeline is what was seen, in the words that a prediction uses.
func (v *view) timeline() timeline.Timeline {
	t := timeline.Timeline{Outcome: v.outcome}
	for _, p := range v.packets {
		t.Events = append(t.Events, timeline.Event{Bound: timeline.Bound{At: p.At()}, Host: p.From, What: timeline.What(p.What), N: p.N,
			RelSeq: p.RelSeq, RelAck: p.RelAck, Len: p.Len, Port: v.port(p), Dropped: p.Fate != result.Delivered})
	}
	t.Events = append(t.Events, v.offWire...)
	slices.SortStableFunc(t.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	return t
}

// port is the port that tells a packet's connection from others, where there are several side by side.
func (v *view) port(p result.Packet) uint16 {
	switch {
	case !v.several:
		return 0
	case (p.From == "client") != v.byClient:
		return uint16(p.DstPort)
	}
	return uint16(p.SrcPort)
}

// judgeInput puts what was predicted beside what was seen.
func (v *view) judgeInput(r *run) judge.Input {
	in := judge.Input{Want: r.want, Got: v.timeline(), Jiffy: r.facts.Jiffy(), Ended: v.ended}
	r.ends(v, &in.Got)
	r.wound(v, &in.Got)
	if r.setup.Apart {
		over := unwatched(in.Got.Events, in.Want.Events)
		in.Got.Events = slices.DeleteFunc(in.Got.Events, func(e timeline.Event) bool {
			at, ok := over[e.Port]
			return ok && e.What.OnWire() && e.At > at
		})
		in.Disorder = v.overtaken(r.obs.events)
	} else { // of several, each does one thing after the other, and what was planned for one is not said of another
		in.Disorder = disorder(r.obs.events)
	}
	if r.unkept != nil {
		in.Disorder = r.unkept
	}
	if r.late != nil {
		in.Disorder = r.late
	}
	if r.start != nil {
		start := r.clock.Start(r.start.Jiffies) - v.origin
		in.JiffyStart, in.ClockError = &start, r.clock.Uncertainty+clockSlack
	}
	in.Calls = v.calls(r.obs.events)
	in.Stalls = append(r.stalls(v.origin), linkStalls(v.packets, r.res.Link, r.facts.Jiffy())...)
	return in
}

// calls are those that sent a packet, by the port that tells their connection from others. Where those are the clients' own, it is not known whose a
// call was.
func (v *view) calls(events []lab.Event) (out []judge.Call) {
	if v.byClient {
		return nil
	}
	for _, e := range calls(events, false) {
		port := uint16(0)
		if v.several {
			port = e.Remote.Port()
		}
		out = append(out, judge.Call{Port: port, Before: e.Before - v.origin, After: e.After - v.origin})
	}
	return out
}

// overtaken reports that the first packet, from which time counts, is of another connection than the first call, from which the plan counts: on a
// busy machine one client may overtake another, and not every call sends a packet that a capture sees.
func (v *view) overtaken(events []lab.Event) error {
	made := calls(events, true)
	if len(made) == 0 || len(v.packets) == 0 {
		return nil
	}
	first := slices.MinFunc(made, func(a, b lab.Event) int { return cmp.Compare(a.Before, b.Before) })
	if port := v.port(v.packets[0]); port != first.Remote.Port() {
		return fmt.Errorf("the machine was so busy that the clients did not begin in their order: the first call was to port %d, and the first packet was to port %d", first.Remote.Port(), port)
	}
	return nil
}

// unwatched says, of connections side by side, from when on nobody watches one any more, by its port. A connection that lives on is predicted
// until its program has waited long enough, and goes on as long as the run does, for the sake of others or of a busy machine.
func unwatched(got, want []timeline.Event) map[uint16]time.Duration {
	over := map[uint16]time.Duration{}
	for _, e := range got {
		if e.What == timeline.Quiet {
			over[e.Port] = e.At
		}
	}
	quiet := map[uint16]bool{}
	for _, e := range want { // in order
		if quiet[e.Port] {
			delete(over, e.Port) // more is predicted of it
		}
		quiet[e.Port] = quiet[e.Port] || e.What == timeline.Quiet
	}
	return over
}

// watched are the packets without those of connections that nobody watches any more: the captures end one after the other, and what such a
// connection sends then is in one of them.
func (v *view) watched(r *run) []result.Packet {
	if !r.setup.Apart {
		over, ok := judge.LivesOn(r.want, v.outcome)
		return slices.DeleteFunc(slices.Clone(r.res.Packets), func(p result.Packet) bool { return ok && p.At() > over })
	}
	over := unwatched(v.offWire, r.want.Events)
	return slices.DeleteFunc(slices.Clone(r.res.Packets), func(p result.Packet) bool {
		at, ok := over[v.port(p)]
		return ok && p.At() > at
	})
}

// stalls are what the processors' watchers saw, and the client's process of itself, as offsets from the first packet.
func (r *run) stalls(origin time.Duration) []result.Stall {
	var out []result.Stall
	var seen []stall.Stall
	if r.stall != nil {
		seen = r.stall.Stalls()
	}
	for _, s := range seen {
		out = append(out, result.Stall{At: result.Seconds(s.Due - origin), For: result.Seconds(s.For), CPU: s.CPU})
	}
	for _, e := range r.obs.events {
		for _, s := range e.Stalls {
			out = append(out, result.Stall{At: result.Seconds(s.Due - origin), For: result.Seconds(s.For), CPU: -1, Process: "client"})
		}
	}
	for _, s := range r.link.Late {
		out = append(out, result.Stall{At: result.Seconds(s.Due - origin), For: result.Seconds(s.For), CPU: -1, Process: "link"})
	}
	slices.SortStableFunc(out, func(a, b result.Stall) int { return cmp.Compare(a.At, b.At) })
	return out
}

// clockSlack is what reading two clocks one after the other may be off by.
const clockSlack = 20 * time.Microsecond

// states are the changes that the looks show, as offsets from the first packet.
func (v *view) states(looks []look) []result.State {
	var out []result.State
	last := map[string]string{}
	for _, l := range looks {
		if last[l.host] != l.State {
			last[l.host] = l.State
			out = append(out, result.State{At: result.Seconds(l.mono - v.origin), Host: l.host, State: l.State})
		}
	}
	return out
}

// samples are the looks that showed something new: another state, a timer that was armed anew, a window, a queue. The time that is left of
// a timer is always another.
func (v *view) samples(looks []look) []result.Sample {
	var out []result.Sample
	type end struct {
		host string
		port int
	}
	last := map[end]result.Sample{}
	for _, l := range looks {
		s := l.sample(v.origin)
		now := s
		now.At, now.Took, now.Expires = 0, 0, 0
		of := end{l.host, l.port}
		if was, ok := last[of]; !ok || was != now {
			out = append(out, s)
		}
		last[of] = now
	}
	return out
}

// clientEvent is what a client's process told, as an event; nil for what is no event of a timeline.
func clientEvent(e lab.Event, origin time.Duration) *timeline.Event {
	t := &timeline.Event{Host: "client", Bound: timeline.Bound{At: e.At - origin}}
	switch {
	case e.Event == lab.Connected:
		t.What = timeline.Connected
	case e.Event == lab.Failed && e.Call == "connect":
		t.What, t.Errno = timeline.ConnectError, e.Errno
	case e.Event == lab.Failed && e.Call == "sendto":
		t.What, t.Errno = timeline.SendRefused, e.Errno
	case e.Event == lab.Failed:
		t.What, t.Errno = timeline.SocketError, e.Errno
	case e.Event == lab.Response:
		t.What = timeline.Answered
	case e.Event == lab.Received && e.Bytes == 0:
		t.What = timeline.EndOfStream
	case e.Event == lab.Quiet:
		t.What = timeline.Quiet
	default:
		return nil
	}
	return t
}

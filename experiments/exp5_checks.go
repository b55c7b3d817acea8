package experiments

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// exchange is one request's connection, as the captures show it. Nil: it was not seen.
type exchange struct {
	syn     *result.Packet // the first one
	again   *result.Packet // the SYN that was sent again
	synack  *result.Packet // the first that arrived
	request *result.Packet // what first brought the whole request to a server that took it
	answer  *result.Packet // the answer that arrived at a client that could take it
	lost    *result.Packet // the first SYN-ACK, where it was dropped
	thrown  *result.Packet // the answer that arrived at a client that had no SYN-ACK
}

// exchanges groups the packets by the client's port, in the order of the first SYNs.
func exchanges(r *result.Result) []exchange {
	var ports []int
	var out []exchange
	for i := range r.Packets {
		p := &r.Packets[i]
		port := p.SrcPort
		if p.From == "server" {
			port = p.DstPort
		}
		k := slices.Index(ports, port)
		if k < 0 {
			if p.What != string(timeline.SYN) {
				continue
			}
			k, ports, out = len(ports), append(ports, port), append(out, exchange{})
		}
		out[k].add(p)
	}
	return out
}

func (x *exchange) add(p *result.Packet) {
	what := timeline.What(p.What)
	switch {
	case what == timeline.SYN:
		x.syn = p
	case what == timeline.SYNRetransmission && x.again == nil:
		x.again = p
	case p.Fate != result.Delivered:
		if what == timeline.SYNACK && x.lost == nil {
			x.lost = p
		}
	case what.Family() == timeline.SYNACK && x.synack == nil:
		x.synack = p
		if s := x.syn; s != nil && s.Len > 0 && int(p.RelAck) == 1+s.Len {
			x.request = s
		}
	case p.From == "client" && p.Len > 0 && x.request == nil:
		x.request = p
	case p.From == "server" && p.Len > 0 && x.answer == nil && x.synack != nil:
		x.answer = p
	case p.From == "server" && p.Len > 0 && x.synack == nil: // a client without a SYN-ACK throws it away
		x.thrown = p
	}
}

// roundTrips counts causes: each packet that had to arrive before the next could leave. 0: there was no answer.
func (x *exchange) roundTrips() int {
	switch {
	case x.syn == nil || x.request == nil || x.answer == nil:
		return 0
	case x.request == x.syn && x.answer.What == string(timeline.Data): // SYN, answer
		return 1
	}
	return 2 // SYN, SYN-ACK, third packet, answer
}

// took is the time from the first SYN to the answer, both at the client; 0: not known.
func (x *exchange) took() time.Duration {
	if x.syn == nil || x.answer == nil || x.syn.SentAt == nil || x.answer.ArrivedAt == nil {
		return 0
	}
	return x.answer.ArrivedAt.Duration() - x.syn.SentAt.Duration()
}

// checksOfFastOpen are the options and the round trips of each request: what the schedule of packets does not say.
func checksOfFastOpen(e Env, r *result.Result) []result.Check {
	x, err := fastOpenInput(e)
	if err != nil {
		return nil
	}
	seen := exchanges(r)
	if k := x.LoseAt - 1; x.Lose == oracle.LoseSYNACK && k >= 0 && k < len(seen) && seen[k].syn != nil {
		x.ServerFirst = !slices.ContainsFunc(r.Packets, func(p result.Packet) bool {
			return p.What == string(timeline.SYNRetransmission) && p.SrcPort == seen[k].syn.SrcPort
		})
	}
	cookie := "" // the newest that arrived
	var checks []result.Check
	for i, o := range x.Openings() {
		got := exchange{}
		if i < len(seen) {
			got = seen[i]
		}
		checks = append(checks, optionCheck(i, o, got, cookie))
		if o.Gives {
			given := cookieCheck(i, r, got)
			checks = append(checks, given)
			if o.Granted {
				cookie = given.Observed
			}
		}
		checks = append(checks, roundTripCheck(i, o, got))
		if x.OneWay > 0 && o.Lost == oracle.LoseNothing {
			checks = append(checks, timeCheck(i, o, got, 2*x.OneWay))
		}
	}
	for _, c := range r.Captures {
		if c.Dropped > 0 {
			for i := range checks {
				checks[i].Verdict, checks[i].Code, checks[i].Detail = result.Inconclusive, explain.CaptureDrops, fmt.Sprintf("the capture lost %d packets", c.Dropped)
			}
		}
	}
	return checks
}

// optionCheck judges what the first SYN asks for or shows.
func optionCheck(i int, o oracle.Opening, got exchange, cookie string) result.Check {
	c := result.Check{ID: fmt.Sprintf("syn-option-%d", i+1), Name: fmt.Sprintf("Fast Open option of SYN, request %d", i+1), Expected: "none", Observed: "no SYN", Verdict: result.Pass}
	switch {
	case o.Shows:
		c.Expected = cookie
	case o.Experimental:
		c.Expected = result.FastOpenExperiment
	case o.Asks:
		c.Expected = result.FastOpenRequest
	}
	if got.syn != nil {
		if c.Observed = got.syn.FastOpen; c.Observed == "" {
			c.Observed = "none"
		}
	}
	if c.Observed != c.Expected {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.FastOpenOption, "the client's cache holds something else than the rules say"
	}
	return c
}

// cookieSize is TCP_FASTOPEN_COOKIE_SIZE.
const cookieSize = 8

// cookieCheck judges the cookie that the first SYN-ACK carries, also where that is lost.
func cookieCheck(i int, r *result.Result, got exchange) result.Check {
	c := result.Check{ID: fmt.Sprintf("cookie-%d", i+1), Name: fmt.Sprintf("cookie in SYN-ACK, request %d", i+1), Expected: fmt.Sprintf("%d bytes", cookieSize),
		Observed: "none", Verdict: result.Pass}
	for _, p := range r.Packets {
		if got.syn != nil && p.What == string(timeline.SYNACK) && p.DstPort == got.syn.SrcPort && p.FastOpen != "" {
			c.Observed = p.FastOpen
		}
	}
	if c.Observed == "none" || len(c.Observed) != 2*cookieSize { // hexadecimal
		c.Verdict, c.Code, c.Detail = result.Fail, explain.FastOpenOption, fmt.Sprintf("want %d bytes", cookieSize)
	}
	return c
}

func roundTripCheck(i int, o oracle.Opening, got exchange) result.Check {
	n := got.roundTrips()
	c := result.Check{ID: fmt.Sprintf("round-trips-%d", i+1), Name: fmt.Sprintf("round trips, request %d", i+1), Expected: fmt.Sprint(o.RoundTrips), Observed: fmt.Sprint(n),
		Verdict: result.Pass}
	if n == 0 {
		c.Observed = "no answer"
	}
	if n != o.RoundTrips {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.RoundTrips, "the request travelled in another packet than predicted"
	}
	return c
}

// timeCheck holds the time to the answer against the link's: so many round trips, and no whole one more.
func timeCheck(i int, o oracle.Opening, got exchange, rtt time.Duration) result.Check {
	least := time.Duration(o.RoundTrips) * rtt
	c := result.Check{ID: fmt.Sprintf("answer-time-%d", i+1), Name: fmt.Sprintf("time to the answer, request %d", i+1), Expected: millis(least), Observed: "no answer",
		Allowed: fmt.Sprintf("%s … %s", millis(least), millis(least+rtt)), Verdict: result.Pass}
	took := got.took()
	if took > 0 {
		c.Observed = fmt.Sprintf("%.1f ms", float64(took.Microseconds())/1000)
	}
	switch {
	case took < least:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.RoundTrips, "the link alone takes longer"
	case took >= least+rtt: // whose fault that is, the schedule of packets says
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "the programs took as long as a whole round trip, so that the time shows nothing"
	}
	return c
}

// storyOfFastOpen tells of each request what its packets show.
func storyOfFastOpen(r *result.Result) []result.Sentence {
	var story []result.Sentence
	seen := exchanges(r)
	for i, x := range seen {
		say := func(p *result.Packet, format string, a ...any) {
			s := result.Sentence{Text: fmt.Sprintf(format, a...)}
			if p != nil {
				s.Packets = []int{p.ID}
			}
			story = append(story, s)
		}
		if x.syn == nil {
			continue
		}
		say(x.syn, "Request %d: %s", i+1, synWords(x.syn))
		if x.syn.Fate == result.Dropped {
			say(x.syn, "It died at the %s.", x.syn.Where)
		}
		if x.lost != nil {
			say(x.lost, "Its SYN-ACK acknowledged %d and died at the %s.", x.lost.RelAck, x.lost.Where)
		}
		if x.thrown != nil {
			say(x.thrown, "The server answered all the same; the client, without a SYN-ACK, threw the answer away.")
		}
		if x.again != nil && x.again.SentAt != nil && x.syn.SentAt != nil {
			say(x.again, "%s later the kernel sent the SYN again, with %s.", seconds(x.again.SentAt.Duration()-x.syn.SentAt.Duration()), contents(x.again))
		}
		if x.synack != nil {
			say(x.synack, "%s", synackWords(x))
		}
		if x.answer != nil {
			say(x.answer, "The answer was there after %s%s.", trips(x.roundTrips()), took(&x))
		}
	}
	return story
}

func synWords(p *result.Packet) string {
	switch {
	case p.FastOpen == result.FastOpenRequest:
		return "the SYN asked for a cookie, with " + bytesOf(p) + "."
	case p.FastOpen == result.FastOpenExperiment:
		return "the SYN asked for a cookie in the experimental option, because the other one had got none, with " + bytesOf(p) + "."
	case p.FastOpen != "":
		return "the SYN showed the cookie " + p.FastOpen + " and carried " + bytesOf(p) + "."
	case p.Len > 0:
		return "the SYN carried " + bytesOf(p) + " without a cookie."
	}
	return "a plain SYN, as connect(2) sends it."
}

func synackWords(x exchange) string {
	s := fmt.Sprintf("The SYN-ACK acknowledged %d", x.synack.RelAck)
	switch {
	case x.synack.RelAck > 1:
		s += fmt.Sprintf(" = 1 + %d: the SYN and its data", x.synack.RelAck-1)
	case x.syn.Len > 0:
		s += ": the SYN without its data, which the client sent again with the third packet"
	default:
		s += ": the SYN"
	}
	if x.synack.FastOpen != "" {
		s += ", and brought the cookie " + x.synack.FastOpen
	}
	return s + "."
}

func contents(p *result.Packet) string {
	if p.FastOpen == "" && p.Len == 0 {
		return "neither option nor data"
	}
	return bytesOf(p)
}

func bytesOf(p *result.Packet) string {
	if p.Len == 0 {
		return "no data"
	}
	return fmt.Sprintf("%d bytes of data", p.Len)
}

func trips(n int) string {
	if n == 1 {
		return "one round trip"
	}
	return fmt.Sprintf("%d round trips", n)
}

func took(x *exchange) string {
	if d := x.took(); d > 0 {
		return fmt.Sprintf(", %.1f ms after the first SYN", float64(d.Microseconds())/1000)
	}
	return ""
}

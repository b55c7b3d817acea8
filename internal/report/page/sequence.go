package page

import (
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// The time-sequence graph, in SVG units. Its colours are those of tcptrace as far as they can be read on white: segments black, repeats red,
// acknowledgements green, SACK purple.
const (
	seqWidth  = 960
	seqHeight = 380
	seqLeft   = 84
	seqRight  = 944
	seqTop    = 16
	seqBase   = 340
)

// seqView is the graph of one direction of one connection.
type seqView struct {
	Width, Height            int
	Left, Right, Top, Base   int
	Title                    text
	Segments, Repeats, SACKs []mark
	ACKs                     string // path data
	Times, Numbers           []tick
}

// mark is an upright stroke: the bytes of a segment at the time when it was sent.
type mark struct {
	X, Y0, Y1 string
	Lost      bool
	Title     string
}

// flow is one direction of a connection.
type flow struct {
	from     string
	src, dst int
}

// busiest finds the direction that carries most data. A SYN with data counts.
func busiest(packets []result.Packet) (f flow, bytes int) {
	sum := map[flow]int{}
	for _, p := range packets {
		k := flow{p.From, p.SrcPort, p.DstPort}
		sum[k] += p.Len
		if sum[k] > bytes {
			f, bytes = k, sum[k]
		}
	}
	return f, bytes
}

// fewSegments is how many segments a graph must have to show anything.
const fewSegments = 2

// sequence draws the graph of the direction that carries most data; nil where that is next to none.
func (c *composer) sequence(r *result.Result) *seqView {
	f, bytes := busiest(r.Packets)
	if bytes == 0 {
		return nil
	}
	var sent, back []result.Packet
	var lo, hi time.Duration
	top := uint32(1)
	for _, p := range r.Packets {
		switch (flow{p.From, p.SrcPort, p.DstPort}) {
		case f:
			if p.Len == 0 {
				continue
			}
			if len(sent) == 0 {
				lo = p.At()
			}
			sent = append(sent, p)
			top = max(top, p.RelSeq+uint32(p.Len))
		case flow{from: p.From, src: f.dst, dst: f.src}:
			if p.From == f.from || len(sent) == 0 {
				continue
			}
			back = append(back, p)
		default:
			continue
		}
		hi = max(hi, p.At(), arrival(p))
	}
	if len(sent) < fewSegments {
		return nil
	}
	g := &graph{lo: lo, hi: hi, top: top}
	v := &seqView{Width: seqWidth, Height: seqHeight, Left: seqLeft, Right: seqRight, Top: seqTop, Base: seqBase}
	v.Title = c.textf("What the %s sent, from its first byte on: port %d to %d.", c.clean(f.from), f.src, f.dst)
	c.strokes(v, g, sent)
	g.answers(v, back)
	v.Times, v.Numbers = g.axes()
	return v
}

// arrival is when a packet came to where it went; the time at which it was sent, where it did not.
func arrival(p result.Packet) time.Duration {
	if p.ArrivedAt != nil {
		return p.ArrivedAt.Duration()
	}
	return p.At()
}

// graph maps times and numbers to places.
type graph struct {
	lo, hi time.Duration
	top    uint32
}

func (g *graph) x(t time.Duration) float64 {
	if g.hi <= g.lo {
		return seqLeft + 20
	}
	return seqLeft + 20 + (seqRight-seqLeft-40)*float64(min(max(t, g.lo), g.hi)-g.lo)/float64(g.hi-g.lo)
}

func (g *graph) y(n uint32) float64 {
	return seqBase - 10 - (seqBase-seqTop-30)*float64(min(n, g.top))/float64(g.top)
}

// strokes draws the segments.
func (c *composer) strokes(v *seqView, g *graph, sent []result.Packet) {
	for _, p := range sent {
		m := mark{X: num(g.x(p.At())), Y0: num(g.y(p.RelSeq)), Y1: num(min(g.y(p.RelSeq+uint32(p.Len)), g.y(p.RelSeq)-3)), Lost: p.Fate != result.Delivered,
			Title: fmt.Sprintf("#%d %d–%d, %.6f s", p.ID, p.RelSeq, p.RelSeq+uint32(p.Len)-1, p.At().Seconds())}
		if timeline.What(p.What).Again() {
			v.Repeats = append(v.Repeats, m)
		} else {
			v.Segments = append(v.Segments, m)
		}
	}
}

// answers draws what came back: the acknowledgements as a staircase, and the SACK blocks. There is no line for the window: a result holds
// it as in the header, without its scale.
func (g *graph) answers(v *seqView, back []result.Packet) {
	var acks strings.Builder
	last := uint32(0)
	for i, p := range back {
		at := arrival(p)
		if p.ArrivedAt == nil {
			continue // the sender never learnt of it
		}
		if strings.Contains(p.Flags, "ACK") {
			x := num(g.x(at))
			if acks.Len() == 0 {
				fmt.Fprintf(&acks, "M%d %s", seqLeft+20, num(g.y(last)))
			}
			fmt.Fprintf(&acks, "H%sV%s", x, num(g.y(max(p.RelAck, last))))
			last = max(p.RelAck, last)
		}
		for _, b := range p.SACK {
			v.SACKs = append(v.SACKs, mark{X: num(g.x(at) + float64(i%3)), Y0: num(g.y(b[0])), Y1: num(g.y(b[1])), Title: fmt.Sprintf("SACK %d–%d", b[0], b[1])})
		}
	}
	if acks.Len() > 0 {
		fmt.Fprintf(&acks, "H%d", seqRight-12)
	}
	v.ACKs = acks.String()
}

// axes are the ticks of both axes. Times count from the first segment.
func (g *graph) axes() (times, numbers []tick) {
	if span := g.hi - g.lo; span > 0 {
		times = ticks(span, func(t time.Duration) float64 { return g.x(g.lo + t) })
	}
	for i := uint32(0); i <= 4; i++ {
		n := uint32(uint64(g.top) * uint64(i) / 4)
		numbers = append(numbers, tick{num(g.y(n)), fmt.Sprint(n)})
	}
	return times, numbers
}

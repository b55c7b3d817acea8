package page

import (
	"fmt"
	"math"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// stateColors paint the life lines and the timeline of states.
var stateColors = map[string]string{
	"SYN-SENT": "#e0a030", "SYN-RECV": "#e0a030", "ESTABLISHED": "#46a873", "FIN-WAIT-1": "#7a86c8", "FIN-WAIT-2": "#7a86c8", "CLOSING": "#7a86c8",
	"CLOSE-WAIT": "#7a86c8", "LAST-ACK": "#7a86c8", "TIME-WAIT": "#8c9aa8", "LISTEN": "#b8c2cc", "CLOSED": "#d9dee3", "": "#d9dee3",
}

func stateColor(s string) string {
	if c, ok := stateColors[s]; ok {
		return c
	}
	return stateColors[""]
}

// span is a host's time in one state.
type span struct {
	state    string
	from, to time.Duration
}

// spans lists the states of a host, up to end.
func spans(r *result.Result, host string, end time.Duration) []span {
	var out []span
	for _, s := range r.States {
		if s.Host != host {
			continue
		}
		at := min(max(s.At.Duration(), 0), end)
		if n := len(out); n > 0 {
			out[n-1].to = at
		}
		out = append(out, span{s.State, at, end})
	}
	return out
}

// lastInstant is when the last thing of a run happened.
func lastInstant(r *result.Result) time.Duration {
	var last time.Duration
	rungs, _, _ := report.Rungs(r)
	for _, g := range rungs {
		last = max(last, g.At)
	}
	for _, s := range r.States {
		last = max(last, s.At.Duration())
	}
	return last
}

// bars are the life lines, painted by state.
func (c *composer) bars(r *result.Result, a *axis, rows []*rowView, left, right string) []*bar {
	var out []*bar
	add := func(x int, state string, y0, y1 triple) {
		b := &bar{X: x - lifeWidth/2, Y: y0, State: c.clean(state), Color: stateColor(state)}
		for s := range b.H {
			b.H[s] = max(y1[s]-y0[s], 0)
		}
		out = append(out, b)
	}
	begin := triple{topEdge - 14, topEdge - 14, topEdge - 14}
	end := a.total
	for s := range end {
		end[s] -= bottomEdge - 14
	}
	for i, host := range []string{left, right} {
		x := []int{leftX, rightX}[i]
		add(x, "", begin, end)
		for _, s := range onLines(spans(r, host, lastInstant(r)), host, rows) {
			y0, y1 := a.place(s.from), a.place(s.to)
			if s.to >= lastInstant(r) {
				y1 = end
			}
			add(x, s.state, y0, y1)
		}
	}
	return out
}

// onLines lets a state begin at the line of the ladder that names it: a sample shows it a moment later.
func onLines(all []span, host string, rows []*rowView) []span {
	for i, s := range all {
		for _, row := range rows {
			if g := row.rung; g.Host == host && g.State == s.state && g.At <= s.from && s.from-g.At < 250*time.Millisecond {
				all[i].from = g.At
				if i > 0 {
					all[i-1].to = g.At
				}
			}
		}
	}
	return all
}

// The states' timeline, in SVG units.
const (
	statesWidth = 960
	statesLeft  = 84
	statesRight = 944
	laneHeight  = 26
)

// statesView is the timeline of states of both ends, with what their retransmission timers were set to.
type statesView struct {
	Of            text // the connection, where there are several
	Width, Height int
	Boxes         []box
	Words         []word
	Ticks         []tick
	Base          int
	Legend        []legend
}

type box struct {
	X, Y, W, H string
	Color      string
	Title      string
}

type word struct {
	X, Y   string
	Anchor string
	Text   text
	Color  string
	Bold   bool
}

type tick struct {
	X     string
	Label string
}

type legend struct {
	Color string
	Name  string
}

// states draws the timeline; nil where no state was seen.
func (c *composer) states(r *result.Result) *statesView {
	end := lastInstant(r)
	if len(r.States) == 0 || end <= 0 {
		return nil
	}
	_, left, right := report.Rungs(r)
	x := func(t time.Duration) float64 {
		return statesLeft + (statesRight-statesLeft)*float64(min(max(t, 0), end))/float64(end)
	}
	v := &statesView{Width: statesWidth}
	if r.LookAt != 0 {
		v.Of = c.textf("Of the connection from the client's port %d. What inet_diag said of the others is in the evidence.", r.LookAt)
	}
	seen := map[string]bool{}
	y := 12
	for _, host := range []string{left, right} {
		v.Words = append(v.Words, word{X: num(statesLeft - 10), Y: num(float64(y + 18)), Anchor: "end", Text: c.host(host), Color: inkColor, Bold: true})
		for _, s := range spans(r, host, end) {
			w := max(x(s.to)-x(s.from), 1.5)
			v.Boxes = append(v.Boxes, box{num(x(s.from)), num(float64(y)), num(w), num(laneHeight), stateColor(s.state),
				c.clean(fmt.Sprintf("%s %.6f … %.6f s", s.state, s.from.Seconds(), s.to.Seconds()))})
			if name := short(s.state, 12); w > float64(len(name))*8+8 {
				v.Words = append(v.Words, word{X: num(x(s.from) + w/2), Y: num(float64(y + 18)), Anchor: "middle", Text: c.same(name), Color: inkColor})
			}
			if !seen[s.state] {
				seen[s.state] = true
				v.Legend = append(v.Legend, legend{stateColor(s.state), c.clean(s.state)})
			}
		}
		y += laneHeight + 4
		y = c.rtoLane(v, r, host, y, x)
		y += 12
	}
	v.Base = y
	v.Ticks = ticks(end, x)
	v.Height = y + 26
	return v
}

// rtoLane draws what the kernel said that a host's retransmission timeout was, from one sample to the next.
func (c *composer) rtoLane(v *statesView, r *result.Result, host string, y int, x func(time.Duration) float64) int {
	var mine []result.Sample
	for _, s := range r.Samples {
		if s.Host == host && s.Port == 0 && s.RTO > 0 { // of several connections none is the end's
			mine = append(mine, s)
		}
	}
	if len(mine) == 0 {
		return y
	}
	for i := 0; i < len(mine); {
		j := i
		for j < len(mine) && mine[j].RTO == mine[i].RTO {
			j++
		}
		to := mine[j-1].At.Duration() + mine[j-1].Expires.Duration()
		if j < len(mine) {
			to = mine[j].At.Duration()
		}
		x0, x1 := x(mine[i].At.Duration()), x(to)
		label := report.Small(mine[i].RTO.Duration())
		v.Boxes = append(v.Boxes, box{num(x0), num(float64(y)), num(max(x1-x0-1, 1.5)), "16", "#cfdcec", "RTO " + label})
		if x1-x0 > float64(len(label))*7+8 {
			v.Words = append(v.Words, word{X: num((x0 + x1) / 2), Y: num(float64(y + 12)), Anchor: "middle", Text: c.same(label), Color: inkColor})
		}
		i = j
	}
	v.Words = append(v.Words, word{X: num(statesLeft - 10), Y: num(float64(y + 12)), Anchor: "end", Text: c.same("RTO"), Color: paleColor})
	return y + 20
}

// ticks divide an axis into round parts.
func ticks(end time.Duration, x func(time.Duration) float64) []tick {
	s := end.Seconds()
	step := math.Pow(10, math.Floor(math.Log10(s/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if s/(step*m) <= 8 {
			step *= m
			break
		}
	}
	digits := max(0, int(-math.Floor(math.Log10(step)+1e-9)))
	var out []tick
	for v := 0.0; v <= s*(1+1e-9) && len(out) < 20; v += step {
		out = append(out, tick{num(x(time.Duration(v * float64(time.Second)))), fmt.Sprintf("%.*f s", digits, v)})
	}
	return out
}

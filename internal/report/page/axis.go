package page

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// The scales of the ladder's time, in the order in which a triple holds them.
const (
	compressed = iota // long waits are shortened: what happens is far apart in time and near on the page
	linear            // true to time
	even              // one line for each
	scales
)

// A triple is a length or a place in SVG units on each of the scales.
type triple [scales]float64

// String is the form that the script reads: the three numbers.
func (t triple) String() string {
	var s []string
	for _, v := range t {
		s = append(s, num(v))
	}
	return strings.Join(s, " ")
}

// First is the place on the scale that the page opens with.
func (t triple) First() string { return num(t[compressed]) }

// num prints a number with one digit behind the point at most.
func num(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

const (
	topEdge    = 58   // above the first line: the names of the hosts
	bottomEdge = 30   // below the last
	rowHeight  = 34.0 // between two lines at one time
	perOctave  = 26.0 // what each doubling of 1 s + the gap adds
	leastTall  = 420  // of the linear scale
	mostTall   = 2400
	shortSlant = 7.0 // of an arrow whose packet takes no time
	mostSlant  = 18.0
)

// axis gives each instant its place. Lines are in time order.
type axis struct {
	at    []time.Duration
	y     []triple
	scale float64 // SVG units a second, on the linear scale
	total triple  // height of the picture
}

func newAxis(at []time.Duration) *axis {
	a := &axis{at: at, y: make([]triple, len(at))}
	if len(at) == 0 {
		a.total = triple{topEdge + bottomEdge, topEdge + bottomEdge, topEdge + bottomEdge}
		return a
	}
	span := (at[len(at)-1] - at[0]).Seconds()
	tall := min(max(leastTall, rowHeight*float64(len(at)-1)), mostTall)
	if span > 0 {
		a.scale = tall / span
	}
	a.y[0] = triple{topEdge, topEdge, topEdge}
	for i := 1; i < len(at); i++ {
		gap := max((at[i] - at[i-1]).Seconds(), 0)
		a.y[i] = triple{
			compressed: a.y[i-1][compressed] + rowHeight + perOctave*math.Log2(1+gap),
			linear:     topEdge + (at[i]-at[0]).Seconds()*a.scale,
			even:       a.y[i-1][even] + rowHeight,
		}
	}
	last := a.y[len(at)-1]
	for s := range a.total {
		a.total[s] = last[s] + mostSlant + bottomEdge
	}
	return a
}

// place is where an instant between two lines lies.
func (a *axis) place(t time.Duration) triple {
	n := len(a.at)
	switch {
	case n == 0:
		return triple{topEdge, topEdge, topEdge}
	case t <= a.at[0]:
		return a.y[0]
	case t >= a.at[n-1]:
		return a.y[n-1]
	}
	i := 1
	for a.at[i] < t {
		i++
	}
	part := 1.0
	if d := a.at[i] - a.at[i-1]; d > 0 {
		part = float64(t-a.at[i-1]) / float64(d)
	}
	var out triple
	for s := range out {
		out[s] = a.y[i-1][s] + part*(a.y[i][s]-a.y[i-1][s])
	}
	return out
}

// slant is how much lower an arrow ends than it begins. On the linear scale that is true; elsewhere it says which packet took longer, and
// stays so small that no arrow meets the next.
func (a *axis) slant(transit time.Duration) triple {
	s := max(transit.Seconds(), 0)
	soft := min(shortSlant+11*math.Log10(1+s*1000)/2, mostSlant)
	return triple{compressed: soft, linear: max(min(s*a.scale, mostTall), 2), even: soft}
}

package experiments

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/link"
)

// parsePercent reads "10%" or "0.5".
func parsePercent(s string) (float64, error) {
	f, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
		err = fmt.Errorf("%q: want a number", s)
	}
	return f, err
}

// units are those of tc(8) for a rate.
var units = []struct {
	name string
	bits int64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// parseRate reads "10mbit", "500kbit", or bits a second.
func parseRate(s string) (int64, error) {
	for _, u := range units {
		if digits, ok := strings.CutSuffix(strings.ToLower(s), u.name); ok {
			n, err := strconv.ParseInt(digits, 10, 64)
			if err == nil && (n < 0 || n > math.MaxInt64/u.bits) {
				err = strconv.ErrRange
			}
			return n * u.bits, err
		}
	}
	return strconv.ParseInt(s, 10, 64)
}

// plainRate writes bits a second in the largest unit that leaves a whole number.
func plainRate(n int64) string {
	for _, u := range units {
		if n >= u.bits && n%u.bits == 0 {
			return fmt.Sprintf("%d%s", n/u.bits, u.name)
		}
	}
	return fmt.Sprint(n)
}

const (
	// throws is for how many segments of a run the dice are thrown: more than any run has, with the greatest losses that are allowed.
	throws = 200
	// heldBack is how much later than others a segment comes that --reorder takes, where --reorder-by does not say.
	heldBack = 5 * time.Millisecond
	// mostLoss keeps a run from dying of its losses; mostJitter and mostBehind stay below the least RTO.
	mostLoss   = 30
	mostJitter = 50 * time.Millisecond
	mostBehind = 100 * time.Millisecond
)

// impairments are the parameters of what the link does to the segments that the client sends, besides its delay.
func impairments() []Param {
	return []Param{
		{Flag: "loss", Doc: "the share of segments that the dice lose, repeats included, besides --lose", Kind: Percent, Max: mostLoss},
		{Flag: jitterFlag, Doc: "how much longer than half the RTT a segment is under way at most; the dice say how much, and the order is kept", Kind: Time, Max: int64(mostJitter)},
		{Flag: "reorder", Doc: "the share of segments that the dice hold back, so that those behind overtake them", Kind: Percent, Max: 100},
		{Flag: "reorder-by", Doc: fmt.Sprintf("how long those are held back; not given: %v", heldBack), Kind: Time, Min: int64(100 * time.Microsecond), Max: int64(mostBehind)},
		{Flag: "rate", Doc: "what the link carries to the server in a second, as tc(8) writes it; not given: no limit", Kind: Rate, Min: 1e5, Max: 1e10},
		seedParam(),
	}
}

func seedParam() Param {
	return Param{Flag: "seed", Doc: "what the dice are thrown from: the same seed, the same run; not given: 1", Kind: Number, Min: 1, Max: math.MaxInt32}
}

// linkPlan is what the dice and the rate make of the link. It depends on the options alone, so it is known before the run.
func (o Options) linkPlan() link.Plan {
	p := link.Plan{Rate: o.Rate("rate")}
	if most := o.jitter(); most > 0 {
		p.Hold = o.dice(jitterFlag).Spread(throws, most)
	}
	if share := o.Percent("reorder"); share > 0 {
		by := o.Duration("reorder-by")
		if by == 0 {
			by = heldBack
		}
		p.Behind = make([]time.Duration, throws)
		for _, k := range o.dice("reorder").Chosen(throws, share) {
			p.Behind[k-1] = by
		}
	}
	return p
}

// drawn are the segments that the dice lose, counted from 1 as they arrive.
func (o Options) drawn() []int { return o.dice("loss").Chosen(throws, o.Percent("loss")) }

func (o Options) dice(use string) link.Dice {
	return link.NewDice(uint64(max(o.Number("seed"), 1)), use)
}

// soundLink refuses parameters that say nothing.
func (o Options) soundLink() error {
	switch {
	case o["reorder-by"] != "" && o.Percent("reorder") == 0:
		return fmt.Errorf("--reorder-by=%s: nothing is held back: say how many with --reorder, such as --reorder=10%%", o["reorder-by"])
	case o["seed"] != "" && o.Percent("loss") == 0 && o.jitter() == 0 && o.Percent("reorder") == 0:
		return fmt.Errorf("--seed=%s: there are no dice to throw: want --loss, --jitter or --reorder with it", o["seed"])
	}
	return nil
}

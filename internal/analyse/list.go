package analyse

import (
	"cmp"
	"net/netip"
	"slices"
)

// pair is two ends in an order that does not depend on the direction.
type pair struct{ a, b netip.AddrPort }

func pairOf(x, y netip.AddrPort) pair {
	if x.Compare(y) > 0 {
		x, y = y, x
	}
	return pair{x, y}
}

// A flow is in up to two lists.
const (
	bySilence = iota
	byEnd
	lists
)

// links are a flow's neighbours in one list.
type links struct{ newer, older *flow }

// list holds flows in the order in which they were pushed.
type list struct {
	side           int
	newest, oldest *flow
	n              int
}

func (l *list) push(f *flow) {
	f.link[l.side] = links{older: l.newest}
	if l.newest != nil {
		l.newest.link[l.side].newer = f
	} else {
		l.oldest = f
	}
	l.newest = f
	l.n++
}

func (l *list) remove(f *flow) {
	x := f.link[l.side]
	if x.older != nil {
		x.older.link[l.side].newer = x.newer
	} else {
		l.oldest = x.newer
	}
	if x.newer != nil {
		x.newer.link[l.side].older = x.older
	} else {
		l.newest = x.older
	}
	f.link[l.side] = links{}
	l.n--
}

func sortByNumber(f []*flow) {
	slices.SortFunc(f, func(a, b *flow) int { return cmp.Compare(a.c.Number, b.c.Number) })
}

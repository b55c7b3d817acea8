//go:build lab

package evidence

import (
	"net/netip"
	"testing"
)

// TestTraceFull fills the ring without reading it. It catches events that find no room and are not counted as lost: a run would then be
// told that nothing was missing.
func TestTraceFull(t *testing.T) {
	n := namespace(t)
	tr := trace(t, Namespace{Host: "both", Path: n.Path(), Addr: netip.MustParseAddr("127.0.0.1")})
	const connections = 800 // 11 changes of state each, and room for some 5700 events
	for range connections {
		connection(t, n)
	}
	events, err := tr.Events()
	if err != nil {
		t.Fatal(err)
	}
	lost, err := tr.Lost()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events, %d lost", len(events), lost)
	told := len(of(events, StateChange))
	// A third of them find no room. On a busy machine tracepoints are silent about a hundredth, and nobody counts those (judge.Evidence): less than a sixth.
	if lost == 0 || told+lost < 11*connections*5/6 {
		t.Errorf("%d connections: got %d changes of state and %d events lost, want nearly %d in all", connections, told, lost, 11*connections)
	}
}

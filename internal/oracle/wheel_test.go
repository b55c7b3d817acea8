package oracle

import (
	"math/bits"
	"testing"

	"github.com/tcplab/tcplab/internal/kernel"
)

// TestFire catches a level boundary off by one, a bucket rounded down and a slack that is too large, by hand-made numbers.
func TestFire(t *testing.T) {
	wheel, old := kernel.Facts{HZ: 250, Wheel: true}, kernel.Facts{HZ: 250}
	slow := kernel.Facts{HZ: 100, Wheel: true}
	tests := []struct {
		name   string
		f      kernel.Facts
		j, d   uint64
		lo, hi uint64
	}{
		{"one jiffy", wheel, 1000, 1, 1002, 1002},
		{"last of level 0", wheel, 1000, 62, 1063, 1063},
		{"first of level 1", wheel, 1000, 63, 1064, 1064},
		{"first of level 1, unaligned", wheel, 1001, 63, 1065, 1072},
		{"one second", wheel, 1000, 250, 1256, 1256},
		{"one second, worst phase", wheel, 1006, 250, 1264, 1264},
		{"last of level 1", wheel, 0, 503, 504, 504},
		{"64 s", wheel, 0, 16000, 16384, 16384},
		{"120 s", wheel, 0, 30000, 30208, 30208},
		{"level 8", wheel, 0, 63 << 21, 64 << 21, 64 << 21},
		{"beyond level 8", wheel, 0, 1 << 40, 63 << 24, 63 << 24},
		{"beyond level 7, HZ=100", slow, 0, 1 << 40, 63 << 21, 63 << 21},
		{"old, short", old, 1000, 255, 1255, 1255},
		{"old, 256 jiffies slip even from a round expiry", old, 0, 256, 257, 257},
		{"old, odd", old, 1001, 256, 1258, 1258},
		{"old, 16 s", old, 1, 4000, 4016, 4016},
		{"old, across a power of two", old, 90, 4000, 4096, 4096},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if lo, hi := Fire(tt.f, tt.j, tt.d); lo != tt.lo || hi != tt.hi {
				t.Errorf("got %d..%d, want %d..%d", lo, hi, tt.lo, tt.hi)
			}
		})
	}
}

// TestFireSlack compares apply_slack with its meaning, found by trying every value: of all jiffies after the expiry and up to the limit,
// the one with the most low bits zero. It catches a mask that is one bit off.
func TestFireSlack(t *testing.T) {
	f := kernel.Facts{HZ: 1000}
	for _, d := range []uint64{256, 511, 512, 1000, 4000, 16000, 64000} {
		for j := range uint64(2048) {
			best := j + d + 1
			for e := best; e <= j+d+d/256; e++ {
				if bits.TrailingZeros64(e) > bits.TrailingZeros64(best) {
					best = e
				}
			}
			if got, _ := Fire(f, j, d); got != best {
				t.Fatalf("j=%d d=%d: got %d, want %d", j, d, got, best)
			}
		}
	}
}

// TestPeriod catches start phases that the walk leaves out: half a period must not be enough, a whole one must be.
func TestPeriod(t *testing.T) {
	for _, f := range []kernel.Facts{{HZ: 1000, Wheel: true}, {HZ: 100, Wheel: true}, {HZ: 1000}} {
		for _, d := range []uint64{100, 256, 1000, 4000, 16000, 64000, 120000} {
			p := period(f, d)
			half := p == 1
			for j := range p {
				lo, _ := Fire(f, j, d)
				if next, _ := Fire(f, j+p, d); next-p != lo {
					t.Fatalf("wheel=%v d=%d j=%d: got %d a period later, want %d", f.Wheel, d, j, next-p, lo)
				}
				if next, _ := Fire(f, j+p/2, d); next-p/2 != lo {
					half = true
				}
			}
			if !half {
				t.Errorf("wheel=%v d=%d: got period %d, want half of it", f.Wheel, d, p)
			}
		}
	}
}

package stall

import (
	"testing"
	"time"
)

// Catches a column or a unit that is another one than the kernel's.
func TestLoad(t *testing.T) {
	psi := "some avg10=98.77 avg60=95.00 avg300=95.88 total=1985290174\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
	if d, err := waited([]byte(psi)); err != nil || d != 1985290174*time.Microsecond {
		t.Errorf("waited: got %v, %v, want 1985.290174s", d, err)
	}
	if d, err := stolen([]byte("cpu  257737 65411 151370 63959 762 0 1877 123 5 6\ncpu0 1 2 3\n")); err != nil || d != 1230*time.Millisecond {
		t.Errorf("stolen: got %v, %v, want 1.23s", d, err)
	}
	for _, bad := range []string{"", "full total=1\n", "some total=\n", "some total=-1\n", "cpu 1 2\n", "cpu  1 2 3 4 5 6 7 x\n", "cpu  1 2 3 4 5 6 7 -8\n"} {
		if d, err := waited([]byte(bad)); err == nil {
			t.Errorf("waited of %q: got %v, want an error", bad, d)
		}
		if d, err := stolen([]byte(bad)); err == nil {
			t.Errorf("stolen of %q: got %v, want an error", bad, d)
		}
	}
	for _, tt := range []struct{ now, before, want Load }{
		{Load{5, 7}, Load{2, 7}, Load{3, 0}},
		{Load{-1, 7}, Load{-1, 3}, Load{-1, 4}},
		{Load{1, 1}, Load{2, -1}, Load{-1, -1}},
	} {
		if got := tt.now.Since(tt.before); got != tt.want {
			t.Errorf("%v since %v: got %v, want %v", tt.now, tt.before, got, tt.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("some avg10=98.77 avg60=95.00 avg300=95.88 total=1985290174\n"))
	f.Add([]byte("cpu  257737 65411 151370 63959 762 0 1877 123 5 6\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := waited(b); err == nil && d < 0 {
			t.Errorf("waited: got %v", d)
		}
		if d, err := stolen(b); err == nil && d < 0 {
			t.Errorf("stolen: got %v", d)
		}
	})
}

package evidence

import (
	"maps"
	"strings"
	"testing"
)

// TestSymbols catches a function that is taken for one of its compiled parts, an address that is hidden and taken for one, and a list that is no list.
func TestSymbols(t *testing.T) {
	const rest = "ffffffff8202fff0 t tw_timer_handler\nffffffff81243c71 t tcp_keepalive_timer.cold\nffffffff8200af30 t reqsk_timer_handler\nffffffff8202df70 t tcp_keepalive_timer\nffffffff8202e460 t tcp_delack_timer\n"
	all := map[string]uint64{"tcp_write_timer": 0xffffffff8202f360, "reqsk_timer_handler": 0xffffffff8200af30, "tw_timer_handler": 0xffffffff8202fff0, "tcp_keepalive_timer": 0xffffffff8202df70, "tcp_delack_timer": 0xffffffff8202e460}
	for _, tt := range []struct {
		name, text string
		want       map[string]uint64
		err        string
	}{
		{"all", rest + "ffffffff8202f360 t tcp_write_timer\n", all, ""},
		{"in a module", "ffffffffc0001000 t tcp_write_timer\t[tcp]\n", map[string]uint64{"tcp_write_timer": 0xffffffffc0001000}, ""},
		{"hidden", "0000000000000000 t tcp_write_timer\n", nil, "kptr_restrict"},
		{"a kernel without it", rest, nil, "no address of tcp_write_timer"},
		{"no address", "here t tcp_write_timer\n", nil, "want an address"},
	} {
		got, err := symbols(strings.NewReader(tt.text))
		if !maps.Equal(got, tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %v, %v, want %v, %q", tt.name, got, err, tt.want, tt.err)
		}
	}
}

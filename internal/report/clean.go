package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes a string from outside safe to print: control characters, broken UTF-8 and the invisible characters that reorder a line
// (Unicode category Cf) or that XML
// forbids (noncharacters) become a visible escape such as \x1b; a line break or a tab becomes a space.
func clean(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case unsafeRune(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unsafeRune(r):
			writeEscape(&b, r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}

func unsafeRune(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Noncharacter_Code_Point, r)
}

func writeEscape(b *strings.Builder, r rune) {
	if r > 0xffff {
		fmt.Fprintf(b, `\U%08x`, r)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}

// folds gives the 7-bit spelling of the signs that tcplab's own texts use.
var folds = strings.NewReplacer(
	"…", "...", "·", "-", "–", "-", "—", "-", "─", "-", "►", ">", "◄", "<", "→", "->", "←", "<-", "✗", "X", "✓", "ok",
	"µ", "u", "μ", "u", "±", "+/-", "×", "x", "≥", ">=", "≤", "<=", "≈", "~", "‘", "'", "’", "'", "“", `"`, "”", `"`, "\u00a0", " ",
)

// ascii folds a string to 7 bits. What has no spelling of its own becomes an escape such as \u4e2d.
func ascii(s string) string {
	s = folds.Replace(s)
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			writeEscape(&b, r)
		}
	}
	return b.String()
}

// Visible is a text of a stored file with its control characters made visible.
func Visible(s string) string { return clean(s) }

package live

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// colorCode is the only escape sequence that may reach a terminal from outside: SGR (ECMA-48, 8.3.117).
var colorCode = regexp.MustCompile("\x1b\\[[0-9;:]*m")

// safe makes a line safe to print. Colours stay or go; every other control character, and what reorders a line, becomes visible.
func safe(s string, colors bool) string {
	if strings.IndexFunc(s, unsafeRune) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	last, colored := 0, false
	for _, at := range colorCode.FindAllStringIndex(s, -1) {
		visible(&b, s[last:at[0]])
		if colors {
			colored = true
			b.WriteString(s[at[0]:at[1]])
		}
		last = at[1]
	}
	visible(&b, s[last:])
	if colored {
		b.WriteString("\x1b[m")
	}
	return b.String()
}

func visible(b *strings.Builder, s string) {
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(b, `\x%02x`, s[0])
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case unsafeRune(r) && r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case unsafeRune(r):
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
}

func unsafeRune(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

var folds = strings.NewReplacer("…", "...", "·", "-", "µ", "u", "✗", "X")

// sign spells one of the package's own signs.
func sign(s string, ascii bool) string {
	if ascii {
		return fold(s)
	}
	return s
}

// fold brings s to 7 bits; what has no spelling becomes an escape such as \u4e2d.
func fold(s string) string {
	var b strings.Builder
	for _, r := range folds.Replace(s) {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

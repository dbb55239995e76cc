package document

import (
	"strings"
	"testing"
)

// A file must mean what it shows: where characters cannot be seen, it does not.
func TestHiddenCharacters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		char   rune
		hidden bool
	}{
		"zero width space":      {0x200b, true},
		"zero width joiner":     {0x200d, true},
		"right-to-left":         {0x202e, true},
		"isolate":               {0x2066, true},
		"word joiner":           {0x2060, true},
		"soft hyphen":           {0xad, true},
		"line separator":        {0x2028, true},
		"paragraph separator":   {0x2029, true},
		"byte order mark":       {0xfeff, true},
		"tag letter":            {0xe0041, true},
		"far variation":         {0xe0100, true},
		"first variation":       {0xfe00, true},
		"picture of a symbol":   {0xfe0f, false},
		"letter with an accent": {0xe9, false},
		"Hebrew letter":         {0x5d0, false},
		"no-break space":        {0xa0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, findings := Parse("x.yaml", []byte("a: b\nc: d # e"+string(c.char)+"f\n"))
			if !c.hidden {
				if len(findings) > 0 {
					t.Errorf("refused: %v", findings)
				}
				return
			}
			if len(findings) != 1 || findings[0].Line != 2 || findings[0].Column != 9 || !strings.Contains(findings[0].Message, "cannot be seen") {
				t.Errorf("findings %v", findings)
			}
			if strings.ContainsRune(findings[0].String(), c.char) {
				t.Error("the finding shows the character itself")
			}
		})
	}
}

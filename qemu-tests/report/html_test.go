package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"ingot/qemu-tests/verdict"
)

func htmlOf(t testing.TB, v verdict.Verdict) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// allowed are the elements of the page and their attributes: none of them loads
// or runs anything.
var allowed = map[string]string{
	"html": "lang", "head": "", "meta": "charset http-equiv content name", "title": "", "style": "", "body": "",
	"header": "class", "main": "", "section": "class", "article": "class", "div": "class", "p": "class", "span": "class", "b": "", "small": "",
	"h1": "", "h2": "", "h3": "", "ul": "class", "ol": "class", "li": "class", "dl": "class", "dt": "", "dd": "", "code": "class title",
	"pre": "tabindex", "details": "open", "summary": "",
	"svg": "class aria-hidden aria-label focusable role viewbox preserveaspectratio", "symbol": "id viewbox", "use": "href",
	"path": "class d pathlength stroke-dasharray", "rect": "class x width height", "text": "x y",
}

// harmless reads the page as a browser would and wants nothing in it but what
// the template has.
func harmless(t testing.TB, page string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.CommentToken:
			t.Errorf("there is a comment: %s", z.Raw())
		case html.StartTagToken, html.SelfClosingTagToken:
			token := z.Token()
			attributes, ok := allowed[token.Data]
			if !ok {
				t.Errorf("there is an element %s", token)
			}
			for _, a := range token.Attr {
				if !slices.Contains(strings.Fields(attributes), a.Key) {
					t.Errorf("there is an attribute %s in %s", a.Key, token)
				}
				if a.Key == "href" && !strings.HasPrefix(a.Val, "#") {
					t.Errorf("%s leads out of the page", token)
				}
			}
		}
	}
}

func TestHTMLIsSelfContained(t *testing.T) {
	t.Parallel()
	for _, name := range samples {
		harmless(t, htmlOf(t, sample(t, name)))
	}
	if strings.Contains(stylesheet, "url(") || strings.Contains(stylesheet, "@import") {
		t.Error("the stylesheet loads something")
	}
}

// The browser obeys the policy, so a stylesheet that is not the one whose digest
// is in it would be ignored.
func TestHTMLPolicy(t *testing.T) {
	t.Parallel()
	page := htmlOf(t, verdict.Verdict{})
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	digest := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'; base-uri 'none'; form-action 'none'"
	if !strings.Contains(html.UnescapeString(page), `http-equiv="Content-Security-Policy" content="`+want+`"`) {
		t.Errorf("the policy is not %s", want)
	}
}

func TestHTMLSays(t *testing.T) {
	t.Parallel()
	for name, wants := range map[string][]string{
		"passed": {
			"All 165 checks held", `title="2cb4b627230283da5319964157c5e4b073e2d7b48c77bf19b46220ef4eba1c1d">2cb4b627…1c1d<`, "33.8 s", "2 min 29 s",
			"SSH for clawadmin, with a key, in the tunnel only", "nothing listens yet", "port answers a stranger", "WireGuard answered: ready",
			"786,402", "51 checks passed", "docs/hardening.md", "field notes", "ingot verify", "packets.pcapng",
		},
		"failed": {
			"The image did not do what it promises. 42 of 47 checks passed, 4 failed, 1 could not be made, 2 skipped.",
			"&lt;script&gt;alert(1)&lt;/script&gt;", "not in the port table", "2 of 3 scenarios passed", "fail2ban.ban", "A check failed, and held",
		},
		"deep":  {`aria-label="hardening index 88 of 100"`, "has a socket to the network", "Nobody said why", "mlkem768x25519"},
		"error": {"The assay did not get through", "did not come up within 6m0s", "How far the boot came"},
		"empty": {"No verdict", "proves nothing"},
	} {
		page := htmlOf(t, sample(t, name))
		for _, want := range wants {
			if !strings.Contains(strings.ToLower(page), strings.ToLower(want)) {
				t.Errorf("the page of %s lacks %q", name, want)
			}
		}
		if deep := strings.Contains(page, "What other tools say"); deep != (name == "deep") {
			t.Errorf("the page of %s has scores: %t", name, deep)
		}
	}
}

// A layer is open when something is wrong in it, and what is wrong comes before
// everything else.
func TestHTMLShowsFailuresFirst(t *testing.T) {
	t.Parallel()
	if n := strings.Count(htmlOf(t, sample(t, "passed")), "<details open>"); n != 0 {
		t.Errorf("%d layers of a pass are open", n)
	}
	page := htmlOf(t, sample(t, "failed"))
	if n := strings.Count(page, "<details open>"); n != 5 {
		t.Errorf("%d layers are open, want internet, nftables, kernel, ssh and scenarios", n)
	}
	if wrong, ports := strings.Index(page, "What went wrong"), strings.Index(page, "What a stranger finds"); wrong < 0 || wrong > ports {
		t.Errorf("the failures are at %d, the ports at %d", wrong, ports)
	}
}

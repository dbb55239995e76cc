package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"

	"ingot/qemu-tests/verdict"
)

//go:embed page.css
var stylesheet string

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"blame": blame, "count": thousands, "ended": outcome, "kind": kind, "lasted": lasted, "lookup": markNames, "long": long,
	"short": shortDigest,
}).Parse(pageText))

// HTML writes the verdict as one page that needs nothing else: no script, no
// font, no image. Its content security policy allows this stylesheet, by its
// digest, and nothing more. The error is w's.
func HTML(w io.Writer, v verdict.Verdict) error {
	var b bytes.Buffer // half a page is worse than none
	if err := pageTemplate.Execute(&b, newPage(printableVerdict(v))); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// policy is the page's content security policy.
func policy() string {
	digest := sha256.Sum256([]byte(stylesheet))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'; base-uri 'none'; form-action 'none'"
}

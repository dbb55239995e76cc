package inspect

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
)

//go:embed page.css
var stylesheet string

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": count, "kind": kindOfChange, "printable": printable, "short": short, "tally": tally,
}).Parse(pageText))

// HTML writes what changes as one page that needs nothing else: no script, no
// font, no image. Its content security policy allows this stylesheet, by its
// digest, and nothing more. The error is w's.
func (d Diff) HTML(w io.Writer) error {
	folds, loose := d.Folds()
	digest := sha256.Sum256([]byte(stylesheet))
	var b bytes.Buffer // half a page is worse than none
	err := pageTemplate.Execute(&b, map[string]any{
		"Diff": d, "Sides": []namedSide{{"from", d.A}, {"to", d.B}}, "Sections": d.Sections(), "Folds": folds, "Loose": loose, "Style": template.CSS(stylesheet),
		"Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'; base-uri 'none'; form-action 'none'",
	})
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// kindOfChange is a change as a class of the stylesheet.
func kindOfChange(c Change) string {
	return map[string]string{"+": "added", "-": "removed", "~": "changed"}[sign(c)]
}

type namedSide struct {
	Name string
	Side Side
}

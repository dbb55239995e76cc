package libvirt

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// node is any element. What this program does not know is kept as it is.
type node struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Nodes   []node     `xml:",any"`
}

// element makes one with attributes in pairs of name and value; those without a value
// are left out.
func element(name string, pairs ...string) node {
	n := node{XMLName: xml.Name{Local: name}}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			n.Attrs = append(n.Attrs, xml.Attr{Name: xml.Name{Local: pairs[i]}, Value: pairs[i+1]})
		}
	}
	return n
}

// with is the element with others in it.
func (n node) with(nodes ...node) node {
	n.Nodes = append(n.Nodes, nodes...)
	return n
}

// text is the element with characters in it.
func (n node) text(format string, args ...any) node {
	n.Text = fmt.Sprintf(format, args...)
	return n
}

// attr is the value of an attribute, empty without one.
func (n node) attr(name string) string {
	for _, a := range n.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// child is the first element below n along names; an empty one when there is none.
func (n node) child(names ...string) node {
	for _, name := range names {
		all := n.children(name)
		if len(all) == 0 {
			return node{}
		}
		n = all[0]
	}
	return n
}

// children are the elements of a name directly in n.
func (n node) children(name string) []node {
	var list []node
	for _, c := range n.Nodes {
		if c.XMLName.Local == name {
			list = append(list, c)
		}
	}
	return list
}

// value is the element's characters without the space around them.
func (n node) value() string { return strings.TrimSpace(n.Text) }

func parse(text string) (node, error) {
	var n node
	if err := xml.Unmarshal([]byte(text), &n); err != nil {
		return node{}, fmt.Errorf("libvirt's XML cannot be read: %w", err)
	}
	n.tidy()
	return n, nil
}

// tidy removes the space between elements.
func (n *node) tidy() {
	if len(n.Nodes) > 0 {
		n.Text = ""
	}
	for i := range n.Nodes {
		n.Nodes[i].tidy()
	}
}

func marshal(n node) (string, error) {
	b, err := xml.Marshal(n)
	return string(b), err
}

// newVolume is a raw volume that takes no room at first.
func newVolume(name string, size int64) node {
	return element("volume").with(
		element("name").text("%s", name),
		element("capacity", "unit", "bytes").text("%d", size),
		element("allocation", "unit", "bytes").text("0"),
		element("target").with(
			element("format", "type", "raw"),
			// A config holds secrets, and what a server knows is nobody's business.
			element("permissions").with(element("mode").text("0600")),
		),
	)
}

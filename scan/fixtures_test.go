package scan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ossf/osv-schema/bindings/go/osvschema"

	"ingot/images/sbom"
)

// The records have the form of OSV's own, with all that is not needed left out.
var records = map[string]string{
	"DEBIAN-CVE-2025-0001": `{"schema_version": "1.7.3", "id": "DEBIAN-CVE-2025-0001", "modified": "2026-11-01T00:00:00Z", "upstream": ["CVE-2025-0001"],
		"details": "A flaw in sshd. It is bad.",
		"affected": [
			{"package": {"ecosystem": "Debian:12", "name": "openssh", "purl": "pkg:deb/debian/openssh?arch=source"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1:9.2p1-2+deb12u9"}]}], "ecosystem_specific": {"urgency": "not yet assigned"}},
			{"package": {"ecosystem": "Debian:13", "name": "openssh", "purl": "pkg:deb/debian/openssh?arch=source"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1:10.0p1-7+deb13u2"}]}], "ecosystem_specific": {"urgency": "not yet assigned"}}],
		"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}`,
	"DEBIAN-CVE-2025-0002": `{"id": "DEBIAN-CVE-2025-0002", "modified": "2026-10-01T00:00:00Z", "upstream": ["CVE-2025-0002"],
		"affected": [{"package": {"ecosystem": "Debian:13", "name": "openssh"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}], "ecosystem_specific": {"urgency": "unimportant"}}],
		"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}`,
	"DSA-6001-1": `{"id": "DSA-6001-1", "modified": "2026-11-02T00:00:00Z", "upstream": ["CVE-2025-0001", "CVE-2025-0002"], "summary": "openssh - security update",
		"affected": [{"package": {"ecosystem": "Debian:13", "name": "openssh"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1:10.0p1-7+deb13u2"}]}]}]}`,
	"DEBIAN-CVE-2025-0003": `{"id": "DEBIAN-CVE-2025-0003", "modified": "2026-09-01T00:00:00Z", "upstream": ["CVE-2025-0003"],
		"affected": [{"package": {"ecosystem": "Debian:13", "name": "linux"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}], "ecosystem_specific": {"urgency": "low"}}]}`,
	"DEBIAN-CVE-2025-0004": `{"id": "DEBIAN-CVE-2025-0004", "modified": "2026-09-01T00:00:00Z", "withdrawn": "2026-09-02T00:00:00Z", "upstream": ["CVE-2025-0004"],
		"affected": [{"package": {"ecosystem": "Debian:13", "name": "linux"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}]}`,
	"GO-2026-0001": `{"id": "GO-2026-0001", "modified": "2026-11-03T00:00:00Z", "aliases": ["CVE-2026-1111", "GHSA-aaaa-bbbb-cccc"], "summary": "Panic in example.org/mod",
		"affected": [{"package": {"ecosystem": "Go", "name": "example.org/mod"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.2.4"}]}], "ecosystem_specific": {"imports": [{"path": "example.org/mod", "symbols": ["F"]}]}}]}`,
	"GHSA-aaaa-bbbb-cccc": `{"id": "GHSA-aaaa-bbbb-cccc", "modified": "2026-11-03T00:00:00Z", "aliases": ["CVE-2026-1111"], "summary": "Panic",
		"affected": [{"package": {"ecosystem": "Go", "name": "example.org/mod"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.2.4"}]}]}], "database_specific": {"severity": "MODERATE"}}`,
}

// hits are the records that are about what the bill below holds.
var hits = map[string][]string{
	"Debian:13 openssh 1:10.0p1-7+deb13u1": {"DEBIAN-CVE-2025-0001", "DEBIAN-CVE-2025-0002", "DSA-6001-1"},
	"Debian:13 linux 6.12.118-1":           {"DEBIAN-CVE-2025-0003", "DEBIAN-CVE-2025-0004"},
	"Go example.org/mod 1.2.3":             {"GHSA-aaaa-bbbb-cccc", "GO-2026-0001"},
}

func bill() sbom.Bill {
	ssh := sbom.Component{Kind: sbom.Debian, Name: "openssh-server", Version: "1:10.0p1-7+deb13u1", Arch: "amd64", Source: "openssh", SourceVersion: "1:10.0p1-7+deb13u1", Parts: []string{sbom.InRoot}}
	client := ssh
	client.Name = "openssh-client"
	return sbom.Bill{Suite: "trixie", Epoch: 1794475820, Components: []sbom.Component{
		ssh, client,
		{Kind: sbom.Debian, Name: "linux-image-6.12.118+deb13-cloud-amd64", Version: "6.12.118-1", Arch: "amd64", Source: "linux-signed-amd64", SourceVersion: "6.12.118+1", Parts: []string{sbom.InBoot, sbom.InRoot}},
		{Kind: sbom.Debian, Name: "bash", Version: "5.2.37-2+b5", Arch: "amd64", Source: "bash", SourceVersion: "5.2.37-2", Parts: []string{sbom.InRoot}},
		{Kind: sbom.Module, Name: "example.org/mod", Version: "v1.2.3", Programs: []string{"ignition"}, Parts: []string{sbom.InInitrd}},
		{Kind: sbom.Program, Name: "ignition", SHA256: strings.Repeat("a", 64), Parts: []string{sbom.InInitrd}},
	}}
}

// found is a scan of that bill, a line for each finding.
func found(r Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		b.WriteString(strings.Join([]string{string(f.Severity), f.ID, strings.Join(f.Aliases, ","), f.Package, f.Version, "fixed:" + f.Fixed, strings.Join(f.Components, ","), strings.Join(f.Parts, ","), f.Summary}, " ") + "\n")
	}
	return b.String()
}

const wantFound = `critical CVE-2025-0001 DEBIAN-CVE-2025-0001,DSA-6001-1 openssh 1:10.0p1-7+deb13u1 fixed:1:10.0p1-7+deb13u2 openssh-client,openssh-server root A flaw in sshd.
medium CVE-2026-1111 GHSA-aaaa-bbbb-cccc,GO-2026-0001 example.org/mod 1.2.3 fixed:1.2.4 ignition initrd Panic
low CVE-2025-0003 DEBIAN-CVE-2025-0003 linux 6.12.118-1 fixed: linux-image-6.12.118+deb13-cloud-amd64 boot,root ` + `
unimportant CVE-2025-0002 DEBIAN-CVE-2025-0002,DSA-6001-1 openssh 1:10.0p1-7+deb13u1 fixed: openssh-client,openssh-server root ` + `
`

func parsed(t *testing.T, text string) *osvschema.Vulnerability {
	t.Helper()
	if !json.Valid([]byte(text)) {
		t.Fatalf("a fixture is no JSON: %s", text)
	}
	v, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

package assay

import "testing"

func TestParseExposure(t *testing.T) {
	t.Parallel()
	const text = "✗ PrivateNetwork=   Service has access to the host's network   0.5\n\n→ Overall exposure level for fail2ban.service: 2.8 OK :-)\n"
	level, evidence, err := parseExposure(text)
	if err != nil || level != 2.8 || evidence != "Overall exposure level for fail2ban.service: 2.8 OK" {
		t.Errorf("got %v, %q, %v", level, evidence, err)
	}
	if _, _, err := parseExposure("Unit nothing.service not found.\n"); err == nil {
		t.Error("no level is taken for one")
	}
}

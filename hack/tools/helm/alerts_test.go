package helm

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/google/go-cmp/cmp"
)

func TestPrometheusRuleIsTheSame(t *testing.T) {
	const name = "PrometheusRule coffer"
	if _, there := renderChart(t, nil)[name]; there {
		t.Error("the rules are there without being asked for, and most clusters do not have their kind")
	}
	chart := renderChart(t, dict{"prometheusRule": dict{"enabled": true}})
	if diff := cmp.Diff(buildKustomization(t, "config/prometheus")[name], chart[name]); diff != "" {
		t.Errorf("config/prometheus (-) and charts/coffer (+) differ:\n%s", diff)
	}
	labels := nested(t, renderChart(t, dict{"prometheusRule": dict{"enabled": true, "labels": dict{"release": "monitoring"}}})[name], "metadata", "labels")
	if got := labels.(dict)["release"]; got != "monitoring" {
		t.Errorf("the label release is %v, want that of the values", got)
	}
}

// TestAlertsAskForWhatThereIs checks that each alert is an expression, about metrics that
// docs/operations.md has a row for (test/docs holds those to the program), and says what
// it is about and what to do.
func TestAlertsAskForWhatThereIs(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(coffer_[^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		for _, name := range regexp.MustCompile("coffer_[a-z_]+").FindAllString(row[1], -1) {
			documented[name] = true
		}
	}
	alerts := 0
	for _, group := range nested(t, buildKustomization(t, "config/prometheus")["PrometheusRule coffer"], "spec", "groups").([]any) {
		for _, r := range group.(dict)["rules"].([]any) {
			alerts++
			rule := r.(dict)
			expression, err := metricsql.Parse(rule["expr"].(string))
			if err != nil {
				t.Errorf("%s: %v", rule["alert"], err)
				continue
			}
			for _, name := range metricsOf(expression) {
				if base := strings.TrimSuffix(name, "_count"); !documented[name] && !documented[base] {
					t.Errorf("%s asks for %s, and docs/operations.md has no row for it", rule["alert"], name)
				}
			}
			annotations, _ := rule["annotations"].(dict)
			severity := rule["labels"].(dict)["severity"]
			if annotations["summary"] == nil || annotations["description"] == nil || severity == nil {
				t.Errorf("%s lacks a summary, a description or a severity", rule["alert"])
			}
		}
	}
	if alerts < 5 {
		t.Errorf("only %d alerts found", alerts)
	}
}

func metricsOf(expression metricsql.Expr) (names []string) {
	metricsql.VisitAll(expression, func(e metricsql.Expr) {
		m, ok := e.(*metricsql.MetricExpr)
		if !ok {
			return
		}
		for _, filters := range m.LabelFilterss {
			for _, filter := range filters {
				if filter.Label == "__name__" {
					names = append(names, filter.Value)
				}
			}
		}
	})
	return names
}

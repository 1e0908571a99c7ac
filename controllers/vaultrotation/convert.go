package vaultrotation

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/prometheus/common/model"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
)

// convert makes the engine's words of a spec. What the API server lets through of it is nearly all right; the rest is in the error, which says
// what to mend.
func convert(spec *vaultv1alpha1.VaultRotationSpec) (rotation.Spec, error) {
	converted := rotation.Spec{
		Path: string(spec.Path), Failure: rotation.OnFailure(spec.OnFailure), Attempts: int(spec.Attempts), Suspended: spec.Suspend,
	}
	var errs [3]error
	converted.Schedule, errs[0] = convertSchedule(spec.Schedule)
	converted.Method, errs[1] = convertMethod(&spec.Method)
	converted.Consumed, errs[2] = convertConsumed(&spec.Consumed)
	return converted, errors.Join(errs[:]...)
}

func convertSchedule(spec *vaultv1alpha1.RotationSchedule) (schedule.Spec, error) {
	if spec == nil {
		return schedule.Spec{}, nil
	}
	converted := schedule.Spec{Cron: spec.Cron, TimeZone: spec.TimeZone}
	for _, window := range spec.Windows {
		w := schedule.Window{From: window.From, To: window.To}
		for _, day := range window.Days {
			w.Days = append(w.Days, string(day))
		}
		converted.Windows = append(converted.Windows, w)
	}
	var every, jitter error
	converted.Every, every = duration("schedule.every", spec.Every)
	converted.Jitter, jitter = duration("schedule.jitter", spec.Jitter)
	if err := errors.Join(every, jitter); err != nil {
		return schedule.Spec{}, err
	}
	if spec.Every != "" && converted.Every == 0 {
		return schedule.Spec{}, errors.New("schedule.every is no time; give at least 1m, or leave schedule out")
	}
	_, err := schedule.Parse(converted)
	return converted, err
}

func convertConsumed(spec *vaultv1alpha1.RotationConsumed) (rotation.Consumed, error) {
	converted := rotation.Consumed{Then: rotation.Then(spec.Then)}
	if spec.Grace != "" {
		grace, err := duration("consumed.grace", spec.Grace)
		if err != nil {
			return rotation.Consumed{}, err
		}
		converted.Grace = &grace
	}
	var err error
	converted.Wait, err = duration("consumed.wait", spec.Wait)
	return converted, err
}

func duration(field string, text vaultv1alpha1.RotationDuration) (model.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := model.ParseDuration(string(text))
	if err != nil {
		return 0, fmt.Errorf("%s is %q: write a time such as 30d, 12h or 1h30m", field, text)
	}
	return d, nil
}

// convertMethod takes the settings of the one method that is set: they have the same names in the engine.
func convertMethod(spec *vaultv1alpha1.RotationMethod) (rotation.Method, error) {
	kinds := map[string]any{}
	if spec.Generate != nil {
		kinds["generate"] = spec.Generate
	}
	if spec.Postgres != nil {
		kinds["postgres"] = spec.Postgres
	}
	if spec.MySQL != nil {
		kinds["mysql"] = spec.MySQL
	}
	if spec.Redis != nil {
		kinds["redis"] = spec.Redis
	}
	if spec.Webhook != nil {
		kinds["webhook"] = spec.Webhook
	}
	if len(kinds) != 1 {
		return rotation.Method{}, fmt.Errorf("method has %d of generate, postgres, mysql, redis and webhook: set exactly one of them", len(kinds))
	}
	var converted rotation.Method
	for kind, settings := range kinds {
		text, err := json.Marshal(settings)
		if err != nil {
			return rotation.Method{}, fmt.Errorf("method.%s: %w", kind, err)
		}
		converted = rotation.Method{Kind: kind, Settings: text}
	}
	return converted, nil
}

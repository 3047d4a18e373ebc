// What a file of `deploy/grafana/dashboards` may hold, by Grafana's own types: every key is one that they know, and every
// value is of its type. An option that a panel leaves out has its default, as in Grafana.

import type {
  AnnotationQuery,
  Dashboard as AnyDashboard,
  DashboardLink,
  DataQuery,
  DataSourceRef,
  FieldConfigSource,
  Panel,
  RowPanel,
  VariableModel,
} from '@grafana/schema';
import type { Options as BarGauge } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { Options as Stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  FieldConfig as TableField,
  Options as Table,
} from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type {
  FieldConfig as TimeSeriesField,
  Options as TimeSeries,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** As JSON writes it: an enumeration by its values. */
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer Item)[]
      ? Json<Item>[]
      : { [Key in keyof T]: Json<T[Key]> };

/** With defaults for whatever is left out, at any depth. */
type Part<T> = T extends (infer Item)[] ? Part<Item>[] : T extends object ? { [Key in keyof T]?: Part<T[Key]> } : T;

/** What the Prometheus data source adds to a query; its package needs all of Grafana's. */
interface PromQuery extends DataQuery {
  expr: string;
  legendFormat?: string;
  interval?: string;
  instant?: boolean;
  range?: boolean;
  format?: 'time_series' | 'table' | 'heatmap';
}

/** A panel's type, its options, and what it adds to a field's. */
interface Kind<Name extends string, Options, Field> extends Omit<Panel, 'fieldConfig' | 'options' | 'targets' | 'type'> {
  type: Name;
  datasource: DataSourceRef;
  gridPos: NonNullable<Panel['gridPos']>;
  id: number;
  targets: PromQuery[];
  options: Part<Options>;
  fieldConfig: Omit<FieldConfigSource, 'defaults'> & {
    defaults: Omit<FieldConfigSource['defaults'], 'custom'> & { custom?: Part<Field> };
  };
}

type AnyPanel =
  | Kind<'bargauge', BarGauge, Record<string, never>>
  | Kind<'stat', Stat, Record<string, never>>
  | Kind<'table', Table, TableField>
  | Kind<'timeseries', TimeSeries, TimeSeriesField>;

/** Where alerts and other events are drawn. The query stands twice: releases differ in where they look for it. */
interface Annotation extends AnnotationQuery<PromQuery> {
  target: PromQuery;
  expr: string;
  step: string;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
}

/** `definition` is what the list of variables shows of a query. */
interface Variable extends VariableModel {
  definition?: string;
}

export type Dashboard = Json<
  Omit<AnyDashboard, 'annotations' | 'links' | 'panels' | 'templating'> & {
    uid: string;
    title: string;
    annotations: { list: Annotation[] };
    links: DashboardLink[];
    panels: (AnyPanel | RowPanel)[];
    templating: { list: Variable[] };
  }
>;

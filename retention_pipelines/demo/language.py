"""Every word the demo prints, in English and Portuguese.

Codes stay as they are in the data (dataset names, reasons, variables): a person who reads `zero_position` here finds
it in the lake by that name.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The demo's words; `{name}` is filled in."""

    thousands: str
    decimal: str
    months: tuple[str, ...]
    # steps
    notice: str
    step_simulate: str
    step_simulate_kept: str
    step_start_over: str
    step_ingest: str
    step_ingest_kept: str
    step_materialize: str
    step_materialize_kept: str
    step_report: str
    refused_file: str
    nothing_ingested: str
    # report
    title: str
    all_simulated: str
    some_simulated: str
    datasets: str
    deliveries: str
    deliveries_line: str
    status: dict[str, str]
    quarantined: str
    cycle: str
    cycle_where: str
    richest: str
    quality: str
    sizes: str
    sizes_line: str
    sizes_remote: str
    times: str
    steps: dict[str, str]
    total: str
    next: str
    next_lines: tuple[tuple[str, str], ...]
    # columns
    dataset: str
    rows: str
    files: str
    bytes: str
    reason: str
    cell: str
    taxa: str
    records: str
    commonest: str
    type: str
    mean: str
    median: str
    priorities: str
    seconds: str
    step: str
    # empty
    no_quarantine: str
    no_cycle: str
    no_taxa: str
    no_features: str
    no_deliveries: str


ENGLISH = Texts(
    thousands=",",
    decimal=".",
    months=("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    notice="SIMULATED DATA: drawn from a simple model of the Angola-Benguela shelf. Nothing here was observed.",
    step_simulate="Simulating a survey into {folder} (seed {seed})",
    step_simulate_kept="The simulated files are there (seed {seed})",
    step_start_over="Taking the simulated data out of the lake first",
    step_ingest="Ingesting {what}",
    step_ingest_kept="Every file was ingested before",
    step_materialize="Computing features and series with Dagster",
    step_materialize_kept="Features and series are up to date",
    step_report="Reading the report",
    refused_file="Refused: {path}: {error}",
    nothing_ingested="Nothing could be ingested from {what}.",
    title="Report on {root}",
    all_simulated="All data in this lake are SIMULATED.",
    some_simulated="Some data in this lake are SIMULATED: those of files whose names start with simulated_.",
    datasets="Rows per dataset",
    deliveries="Files delivered",
    deliveries_line=(
        "{files} {status}: {read} rows read = {accepted} accepted + {quarantined} quarantined + {duplicates} duplicates"
    ),
    status={"ingested": "ingested", "duplicate": "delivered again", "refused": "refused"},
    quarantined="Quarantined rows by reason",
    cycle="Seasonal cycle: {variable} at the surface",
    cycle_where="Cell {cell}, {dataset}; mean of {years} years (monthly means, each year counts once)",
    richest="The five richest cells (all records, all years; effort differs between cells)",
    quality="Quality of the features (0 to 1), newest version of each study",
    sizes="Sizes",
    sizes_line="{total} on disk in {root}, of which {parquet} in {files} live Parquet files",
    sizes_remote="{parquet} in {files} live Parquet files in {root}",
    times="Time per step",
    steps={"simulate": "simulate", "ingest": "ingest", "materialize": "materialize", "report": "report"},
    total="total",
    next="Next, try",
    next_lines=(
        ('retention query "from trends order by abs(deseasonalised_slope) desc limit 5"', "where it warms fastest"),
        ('retention query "from quarantine" --format csv', "every row that was put aside, and why"),
        ("retention up", "Dagster's web page with the lineage, checks and plots"),
        ("retention ingest PATH", "your own files: Darwin Core, ERDDAP, Argo, NetCDF, NDBC, CSV with a mapping"),
        ("retention doctor", "what is in use, what is missing"),
    ),
    dataset="dataset",
    rows="rows",
    files="files",
    bytes="size",
    reason="reason",
    cell="cell",
    taxa="taxa",
    records="records",
    commonest="most often recorded",
    type="type",
    mean="mean",
    median="median",
    priorities="high/medium/low",
    seconds="seconds",
    step="step",
    no_quarantine="No row is in quarantine.",
    no_cycle="No cell has a surface climatology of more than one month yet.",
    no_taxa="No presence record of a named taxon yet.",
    no_features="No features yet.",
    no_deliveries="No file was delivered yet.",
)

PORTUGUESE = Texts(
    thousands="\u00a0",
    decimal=",",
    months=("jan", "fev", "mar", "abr", "mai", "jun", "jul", "ago", "set", "out", "nov", "dez"),
    notice="DADOS SIMULADOS: tirados de um modelo simples da plataforma Angola-Benguela. Nada disto foi observado.",
    step_simulate="A simular uma campanha em {folder} (semente {seed})",
    step_simulate_kept="Os ficheiros simulados já existem (semente {seed})",
    step_start_over="A retirar primeiro os dados simulados do lago",
    step_ingest="A ingerir {what}",
    step_ingest_kept="Todos os ficheiros já tinham sido ingeridos",
    step_materialize="A calcular features e séries com o Dagster",
    step_materialize_kept="Features e séries estão atualizadas",
    step_report="A ler o relatório",
    refused_file="Recusado: {path}: {error}",
    nothing_ingested="Nada pôde ser ingerido de {what}.",
    title="Relatório sobre {root}",
    all_simulated="Todos os dados deste lago são SIMULADOS.",
    some_simulated="Alguns dados deste lago são SIMULADOS: os de ficheiros cujo nome começa por simulated_.",
    datasets="Linhas por conjunto de dados",
    deliveries="Ficheiros entregues",
    deliveries_line=(
        "{files} {status}: {read} linhas lidas = {accepted} aceites + {quarantined} em quarentena "
        "+ {duplicates} duplicadas"
    ),
    status={"ingested": "ingeridos", "duplicate": "entregues de novo", "refused": "recusados"},
    quarantined="Linhas em quarentena por motivo",
    cycle="Ciclo sazonal: {variable} à superfície",
    cycle_where="Célula {cell}, {dataset}; média de {years} anos (médias mensais, cada ano conta uma vez)",
    richest="As cinco células mais ricas (todos os registos e anos; o esforço difere entre células)",
    quality="Qualidade das features (0 a 1), versão mais recente de cada estudo",
    sizes="Tamanhos",
    sizes_line="{total} em disco em {root}, dos quais {parquet} em {files} ficheiros Parquet vivos",
    sizes_remote="{parquet} em {files} ficheiros Parquet vivos em {root}",
    times="Tempo por passo",
    steps={"simulate": "simular", "ingest": "ingerir", "materialize": "calcular", "report": "relatório"},
    total="total",
    next="A seguir, experimente",
    next_lines=(
        ('retention query "from trends order by abs(deseasonalised_slope) desc limit 5"', "onde aquece mais depressa"),
        ('retention query "from quarantine" --format csv', "cada linha posta de lado, e porquê"),
        ("retention up", "a página do Dagster com a linhagem, as verificações e os gráficos"),
        ("retention ingest CAMINHO", "os seus ficheiros: Darwin Core, ERDDAP, Argo, NetCDF, NDBC, CSV com mapeamento"),
        ("retention doctor", "o que está em uso, o que falta"),
    ),
    dataset="conjunto",
    rows="linhas",
    files="ficheiros",
    bytes="tamanho",
    reason="motivo",
    cell="célula",
    taxa="táxones",
    records="registos",
    commonest="mais vezes registado",
    type="tipo",
    mean="média",
    median="mediana",
    priorities="alta/média/baixa",
    seconds="segundos",
    step="passo",
    no_quarantine="Nenhuma linha está em quarentena.",
    no_cycle="Nenhuma célula tem ainda uma climatologia de superfície de mais de um mês.",
    no_taxa="Ainda não há registos de presença de um táxone com nome.",
    no_features="Ainda não há features.",
    no_deliveries="Ainda não foi entregue nenhum ficheiro.",
)


def texts(locale: Literal["en", "pt"]) -> Texts:
    """The words of a locale."""
    return {"en": ENGLISH, "pt": PORTUGUESE}[locale]


def whole(number: int, words: Texts) -> str:
    """A whole number with the locale's separator."""
    return f"{number:,}".replace(",", words.thousands)


def real(number: float, words: Texts, digits: int = 2) -> str:
    """A number with the locale's decimal mark."""
    return f"{number:.{digits}f}".replace(".", words.decimal)


def size(number: int, words: Texts) -> str:
    """Bytes in a readable unit."""
    if number < 1000:
        return f"{number} B"
    for unit, scale in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if number < 1000 * scale or unit == "GB":
            break
    return f"{real(number / scale, words, 1)} {unit}"
